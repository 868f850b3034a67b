"""Columns of a list of runs: which there are, what they say, and which of them a narrow terminal shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from splitpriv import plain
from splitpriv.config import nearest
from splitpriv.metrics import find
from splitpriv.report.terminal import VERDICTS, console
from splitpriv.store import Row
from splitpriv.types import UserError

WIDE = 10_000  # what a pipe takes: a line of its own for each run
GAP = 2  # characters between columns


@dataclass(frozen=True)
class Column:
    """A heading and its cells; of several the one with the highest `rank` goes first where there is no room."""

    heading: str
    cells: Sequence[str]
    rank: int = 0
    right: bool = False

    @property
    def width(self) -> int:
        """Of its longest cell, or word of its heading."""
        return max(map(len, (*self.cells, *self.heading.split(), "")))


def width() -> int:
    """Characters in a line: those of the terminal, of `COLUMNS` where the output is a pipe, else any number."""
    if sys.stdout.isatty():
        return console().width
    told = os.environ.get("COLUMNS", "")
    return max(20, int(told)) if told.isdecimal() and int(told) else WIDE


def show(columns: Sequence[Column], title: str = "", notes: Sequence[str] = ()) -> None:
    """Print columns side by side, as many as there is room for, and below what was left out."""
    room = width()
    if room == WIDE:
        _print_plain(columns, [title, *notes])
        return
    kept, left = fitted(columns, room)
    table = Table(title=escape(title) or None, title_justify="left", title_style="dim", box=None, pad_edge=False,
                  padding=(0, GAP, 0, 0))  # fmt: skip
    tight = _needs(kept) <= room  # else rich folds whole headings or cells, as it sees fit
    for column in kept:
        table.add_column(escape(column.heading), justify="right" if column.right else "left", overflow="fold",
                         no_wrap=column.heading == "key", width=column.width if tight else None)  # fmt: skip
    for cells in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*(_coloured(cell) for cell in cells))
    out = console(room)
    out.print(table)
    if left:
        told = ", ".join(column.heading for column in left)
        notes = [*notes, f"no room at {room} characters for {told}; --columns chooses"]
    for note in notes:
        out.print(f"[dim]{escape(note)}[/]")


def _print_plain(columns: Sequence[Column], about: Sequence[str]) -> None:
    """The same for a pipe, which has neither colours nor an end of the line: rich takes milliseconds for every row."""
    sides = [[column.heading, *column.cells] for column in columns]
    sides = [[plain.line(cell) for cell in side] for side in sides]
    widths = [max(map(len, side)) for side in sides]
    fits = [str.rjust if column.right else str.ljust for column in columns]
    gap = " " * GAP
    lines = [gap.join(f(c, w) for f, c, w in zip(fits, cells, widths, strict=True)).rstrip() for cells in zip(*sides)]  # noqa: B905
    title, *notes = map(plain.inert, about)
    print("\n".join([*([title] if title else []), *lines, *notes]))


def fitted(columns: Sequence[Column], room: int) -> tuple[list[Column], list[Column]]:
    """Those that have room side by side, and those that were left out for it."""
    kept = list(columns)
    while _needs(kept) > room and any(c.rank for c in kept):
        kept.remove(max(reversed(kept), key=lambda c: c.rank))
    return kept, [column for column in columns if column not in kept]


def _needs(columns: Sequence[Column]) -> int:
    return sum(column.width + GAP for column in columns)


def _coloured(cell: str) -> str:
    return f"[{VERDICTS[cell]}]{cell}[/]" if cell in VERDICTS else escape(cell)


def text(row: Row, key: str) -> str:
    """What a row says at a key, as people read it; empty where it says nothing."""
    value, metric = row.get(key), find(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        listed = value if isinstance(value, list | tuple) else [value] if value is not None else []
        return ",".join(map(str, listed)) if not any(isinstance(v, dict | list) for v in listed) else str(len(listed))
    return metric.text(value) if metric else f"{value:g}" if isinstance(value, float) else str(value)


def heading(key: str) -> str:
    """What the values at a key of a row are called: `worst MSE ↑` for privacy/worst/mse."""
    metric, parts = find(key), key.split("/")
    if metric is None:
        return key
    who = {"utility": "", "privacy": "", "suite": ""}.get(parts[0], f"{parts[0].replace('_', ' ')} ")
    return f"{who}{' '.join(parts[1:-1])} {metric.heading}".replace("_", " ").strip()


def known(rows: Sequence[Row], keys: Sequence[str], option: str) -> list[str]:
    """The keys; raise UserError for those that no row has."""
    there = list(dict.fromkeys(key for row in rows for key in row))
    wrong = [key for key in keys if key not in there] if rows else []
    if wrong:
        raise UserError(*(f"{option} {plain.line(key)}: no row has this key; {nearest(key, there)}" for key in wrong))
    return list(dict.fromkeys(keys))


def ordered(rows: Sequence[Row], key: str, reverse: bool = False) -> list[Row]:
    """Rows by what they say at a key: numbers by size, then texts; those that say nothing last, either way."""
    saying = [row for row in rows if row.get(key) is not None and row[key] == row[key]]
    silent = [row for row in rows if not any(row is other for other in saying)]

    def rank(row: Row) -> tuple[bool, float, str]:
        value = row[key]
        is_number = isinstance(value, int | float)
        return not is_number, float(value) if is_number else 0.0, "" if is_number else text(row, key)

    return [*sorted(saying, key=rank, reverse=reverse), *silent]
