"""All rows of a store, as a list and as a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from splitpriv import plain
from splitpriv.metrics import find
from splitpriv.report.select import Selection, filters
from splitpriv.store import Row, Store
from splitpriv.types import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = ("verdict", "chain", "dataset", "backbone", "cut", "protocol.queries", "suite", "seed")
NUMBERS = ("utility/accuracy", "utility/map", "privacy/suite/mse", "privacy/worst/mse", "privacy/worst/ssim",
           "floor/mean_image/mse")  # fmt: skip


class Rows(list[Row]):
    """Rows of finished runs: a list of mappings, shown as a table in a notebook."""

    def to_pandas(self) -> DataFrame:
        """One line per run, one column per entry of any row; raises UserError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            raise UserError("rows: needs pandas; install it with: pip install 'splitpriv[pandas]'") from error
        return pd.DataFrame.from_records(list(self))

    def _repr_html_(self) -> str:
        names = [name for name in SHOWN if any(name in row for row in self)]
        numbers = [name for name in NUMBERS if any(isinstance(row.get(name), float) for row in self)]
        lines = [[*(_text(row.get(n)) for n in names), *(number(row, n) for n in numbers), row["key"]] for row in self]
        return table([*names, *numbers, "key"], lines)


def filtered(store: Store, where: Sequence[str], equal: Mapping[str, Any]) -> Rows:
    """The rows of a store that say all of `where`, as words, and of `equal`, key by key."""
    chosen = filters([*where, *(f"{key}={_text(value)}" for key, value in equal.items())])
    return Rows(Selection(store, chosen).rows())


def number(row: Row, key: str) -> str:
    """A number of a row as people read it; empty where the row has none."""
    metric, value = find(key), row.get(key)
    return "" if not isinstance(value, int | float) else metric.text(value) if metric else f"{value:.4g}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in HTML."""
    cells = ["".join(f"<td>{escape(plain.inert(cell))}</td>" for cell in line) for line in lines]
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>"


def _text(value: Any) -> str:
    """A value as `--where` writes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
