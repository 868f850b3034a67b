"""A table as one YAML under conf/table/: rows of overrides, columns of metrics, printed values, claims, scales."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from splitpriv.config import CONF, nearest
from splitpriv.types import UserError, Whole

FOLDER = "table"
Scale = Literal["smoke", "lite", "full"]


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
    overrides, as group/option. `absent`: why this row cannot be a run, if it cannot.
    """

    overrides: list[str] = []
    each: dict[str, list[float | int | str]] = {}
    plays: list[str] | None = None
    needs: list[str] = []
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
    left out. `rows` (patterns) and `plays` restrict it; `by_play` adds overrides to one play.
    """

    base: list[str] = []
    overrides: list[str] = []
    by_play: dict[str, list[str]] = {}
    seeds: list[Whole] = Field(min_length=1)
    attack_seeds: list[Whole] = Field(default=[0], min_length=1)
    rows: list[str] | None = None
    plays: list[str] | None = None


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


def names() -> list[str]:
    """The tables that ship."""
    return sorted(path.stem for path in (CONF / FOLDER).glob("*.yaml"))


def load(name: str, folder: Path | None = None) -> Table:
    """The table of that name; raise UserError with everything that is wrong with its YAML."""
    path = (folder or CONF / FOLDER) / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"table {name}: there is no such table; {nearest(name, names())}")
    try:
        table = Table.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise UserError(f"table {name}: is not YAML ({' '.join(str(error).split())}); correct {path}") from error
    except ValidationError as error:
        raise UserError(
            *(f"table {name}: {'.'.join(map(str, e['loc']))}: {e['msg']}; correct {path.name}" for e in error.errors())
        ) from error
    table.rows = {row: line for key, spec in table.rows.items() for row, line in _expand(key, spec)}
    problems = _cross(table)
    if problems:
        raise UserError(*(f"table {name}: {problem}; correct {path.name}" for problem in problems))
    return table


def _expand(name: str, line: Line) -> list[tuple[str, Line]]:
    """A row for every combination of `each`."""
    out = []
    for values in product(*line.each.values()):
        chosen = dict(zip(line.each, values, strict=True))
        row = line.model_copy(update={"overrides": [_fill(o, chosen) for o in line.overrides], "each": {}})
        out.append((_fill(name, chosen), row))
    return out


def _fill(text: str, values: dict[str, Any]) -> str:
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", str(value))
    return text


def _cross(table: Table) -> list[str]:
    """References inside a table that lead nowhere."""
    rows, known = {*table.rows}, {*table.rows, *table.averages}
    problems = [f"columns.{c}.play: no play {col.play!r}" for c, col in table.columns.items()
                if col.play is not None and col.play not in table.plays]  # fmt: skip
    problems += [f"averages.{n}: no row {r!r}" for n, rs in table.averages.items() for r in rs if r not in rows]
    problems += [f"printed.columns: no column {c!r}" for c in table.printed.columns if c not in table.columns]
    problems += [f"printed.tolerance: no column {c!r}" for c in table.printed.tolerance if c not in table.columns]
    for row, values in table.printed.rows.items():
        if row not in known:
            problems.append(f"printed.rows: no row {row!r}")
        if len(values) != len(table.printed.columns):
            problems.append(f"printed.rows.{row}: {len(values)} values for {len(table.printed.columns)} columns")
    problems += [f"errata: nothing is printed at {e.row}, {e.column}" for e in table.errata
                 if table.value(e.row, e.column) is None]  # fmt: skip
    for row, line in table.rows.items():
        problems += [f"rows.{row}.plays: no play {p!r}" for p in line.plays or [] if p not in table.plays]
    for scale, size in table.scales.items():
        for pattern in size.rows or []:
            if not any(fnmatchcase(row, pattern) for row in rows):
                problems.append(f"scales.{scale}.rows: {pattern!r} matches no row")
        wrong = [p for p in [*(size.plays or []), *size.by_play] if p not in table.plays]
        problems += [f"scales.{scale}: no play {p!r}" for p in wrong]
    from splitpriv.tables.claims import sides

    for i, claim in enumerate(table.claims):
        for row, column in sides(claim, table):
            if row not in known:
                problems.append(f"claims.{i}: no row {row!r}")
            if column not in table.columns:
                problems.append(f"claims.{i}: no column {column!r}")
    return problems
