"""Rows for spreadsheets."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import TextIO

from splitpriv import plain
from splitpriv.measure.flags import flags_of
from splitpriv.store import Row


def print_csv(rows: Sequence[Row]) -> None:
    """Every key of every row, flags by their lines; curves and other lists are left to the JSON."""
    write_csv(rows, sys.stdout)


def write_csv(rows: Sequence[Row], file: TextIO) -> None:
    """The same into any open file; no cell is a formula."""
    flat = [{**{k: v for k, v in row.items() if not isinstance(v, list | dict)},
             **({"tags": ",".join(row["tags"])} if row.get("tags") else {}),
             **({"flags": "; ".join(flag.text for flag in flags_of(row))} if "flags" in row else {})}
            for row in rows]  # fmt: skip
    columns = list(dict.fromkeys(key for row in flat for key in row))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(plain.cell, columns))
    writer.writerows([plain.cell(row.get(column, "")) for column in columns] for row in flat)
