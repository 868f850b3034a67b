"""A table as one YAML under conf/table/: rows of overrides, columns of metrics, printed values, claims, scales."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from splitpriv.types import UserError, Whole

Side = str | float
Scale = Literal["smoke", "lite", "fast", "full"]


class Strict(BaseModel):
    """No key that is not declared."""

    model_config = ConfigDict(extra="forbid")


def _short(value: Any) -> Any:
    return {"overrides": value} if isinstance(value, list) else value


class Play(Strict):
    """One way in which every row is run, such as a protocol; `attacks` that are not in this repository are left out."""

    overrides: list[str] = []
    attacks: list[str] = []


class Line(Strict):
    """One row: its overrides. `each` makes one row of every combination; `{name}` stands for its value.

    `plays`: those in which the row takes part (None: all). `needs`: what must exist besides the options named by the
    overrides, as group/option. `study`: entries that tell the row of a study, which is looked up, not run. `absent`:
    why this row cannot be a run, if it cannot.
    """

    overrides: list[str] = []
    each: dict[str, list[float | int | str]] = {}
    plays: list[str] | None = None
    needs: list[str] = []
    study: dict[str, bool | float | int | str] = {}
    absent: str | None = None
    note: str | None = None


class Column(Strict):
    """One metric: a key of the rows of a play, `times` a factor; without a key only what was printed."""

    label: str
    play: str | None = None
    key: str | None = None
    format: str = ".4f"
    times: float = 1.0
    better: Literal["higher", "lower"] | None = None  # for the defender


class Printed(Strict):
    """What the paper prints, in the order of `columns`; `tolerance`: of values read by eye from a figure."""

    columns: list[str] = []
    rows: dict[str, list[float | None]] = {}
    tolerance: dict[str, float] = {}


class Erratum(Strict):
    """A printed value that cannot be right, or that other parts of the paper contradict."""

    row: str
    column: str
    says: str


class Points(Strict):
    """A printed curve, read by eye, whose points name no setting."""

    x: str
    y: str
    series: dict[str, list[tuple[float, float]]]


class Claim(Strict):
    """`more` exceeds `than` by more than `by`, in every one of `columns`; or for all `pairs`; or along `order`.

    A side is a row, an average, `row@column` or a number. `relative` compares a / b - 1. `each` repeats the claim for
    rows that replace `{row}`, or for all rows where it is "rows"; the claim holds if all its parts do.
    """

    text: str
    columns: list[str] = []
    more: str | float | None = None
    than: str | float | None = None
    pairs: list[tuple[str | float, str | float]] = []
    order: list[str | float] = []
    each: list[str] | Literal["rows"] = []
    by: float = 0.0
    relative: bool = False
    printed: str | None = None


class Size(Strict):
    """A named scale: `base` before, `overrides` after those of rows and plays; settings of what a row does not list are
    left out. `rows` (patterns) and `plays` restrict it; `by_play` and `by_row` add overrides to the plays, and to the
    rows, of a pattern.
    """

    base: list[str] = []
    overrides: list[str] = []
    by_play: dict[str, list[str]] = {}
    by_row: dict[str, list[str]] = {}
    seeds: list[Whole] = Field(min_length=1)
    attack_seeds: list[Whole] = Field(default=[0], min_length=1)
    rows: list[str] | None = None
    plays: list[str] | None = None

    def of(self, row: str, play: str) -> list[str]:
        """What `by_play` and `by_row` add to a row of a play."""
        added = [(play, *more) for more in self.by_play.items()] + [(row, *more) for more in self.by_row.items()]
        return [word for name, pattern, words in added if fnmatchcase(name, pattern) for word in words]


class Table(Strict):
    """A published table, and how its rows are made here."""

    title: str
    source: str
    notes: list[str] = []
    plays: dict[str, Annotated[Play, BeforeValidator(_short)]] = {"run": Play()}
    rows: dict[str, Annotated[Line, BeforeValidator(_short)]]
    averages: dict[str, list[str]] = {}
    columns: dict[str, Column]
    printed: Printed = Printed()
    errata: list[Erratum] = []
    points: Points | None = None
    claims: list[Claim] = []
    scales: dict[Scale, Size]

    def value(self, row: str, column: str) -> float | None:
        """What the paper prints there, or None."""
        values = self.printed.rows.get(row)
        return values[self.printed.columns.index(column)] if values and column in self.printed.columns else None

    def play_of(self, column: str) -> str:
        """The play whose rows a column reads: the first unless it names one."""
        return self.columns[column].play or next(iter(self.plays))

    def sized(self, scale: Scale) -> Size:
        """A scale; raise UserError where the table lacks it."""
        if scale not in self.scales:
            raise UserError(f"--scale {scale}: this table has no such scale; there are {', '.join(self.scales)}")
        return self.scales[scale]


# ---- the comparisons of a claim ----


@dataclass(frozen=True)
class Part:
    """One comparison of a claim: `more` against `than`, each (row, column) or a number."""

    more: tuple[str, str] | float
    than: tuple[str, str] | float

    def __str__(self) -> str:
        sides = [s if isinstance(s, float) else s[0] for s in (self.more, self.than)]
        columns = [s[1] for s in (self.more, self.than) if not isinstance(s, float)]
        if len(columns) == 2 and columns[0] != columns[1]:
            sides = [s if isinstance(s, float) else "@".join(s) for s in (self.more, self.than)]
            return f"{sides[0]} > {sides[1]}"
        return f"{sides[0]} > {sides[1]} in {columns[0]}"


def parts(claim: Claim, table: Table) -> list[Part]:
    """All comparisons that a claim is made of."""
    pairs: list[tuple[Side, Side]] = [*claim.pairs, *pairwise(claim.order)]
    if claim.more is not None and claim.than is not None:
        pairs.append((claim.more, claim.than))
    names = list(table.rows) if claim.each == "rows" else claim.each
    if names:
        pairs = [(_named(a, name), _named(b, name)) for name in names for a, b in pairs]
    columns = claim.columns or [next(iter(table.columns))]
    return list(dict.fromkeys(Part(_side(a, c), _side(b, c)) for a, b in pairs for c in columns))


def sides(claim: Claim, table: Table) -> Iterator[tuple[str, str]]:
    """Every (row, column) that a claim mentions."""
    for part in parts(claim, table):
        yield from (side for side in (part.more, part.than) if not isinstance(side, float))


def _named(side: Side, name: str) -> Side:
    return side.replace("{row}", name) if isinstance(side, str) else side


def _side(side: Side, column: str) -> tuple[str, str] | float:
    if isinstance(side, str):
        row, _, named = side.partition("@")
        return row, named or column
    return float(side)
