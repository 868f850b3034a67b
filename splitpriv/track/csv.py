"""Tables for a spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path

from filelock import FileLock

from splitpriv import plain
from splitpriv.report.csv import write_csv
from splitpriv.store import Row, Store
from splitpriv.track.base import Tracker, curves


class Csv(Tracker):
    """rows.csv with every finished run, and <key>.csv with the learning curves of each."""

    def begin(self, run_id: str, head: Row, home: Path, sent: int) -> int:
        self.home = home
        return sent

    def complete(self, row: Row, store: Store) -> None:
        with (self.home / f"{row['key']}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["curve", "step", "name", "value"])
            writer.writerows(
                [plain.cell(curve), step, plain.cell(k), v]
                for curve, step, values in curves(row)
                for k, v in values.items()
            )
        with (
            FileLock(self.home / "rows.lock"),
            (self.home / "rows.csv").open("w", newline="", encoding="utf-8") as file,
        ):
            write_csv(store.rows(), file)
