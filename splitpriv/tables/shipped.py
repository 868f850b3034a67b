"""The tables that ship, read from conf/table/ and checked: rows multiplied out, no reference that leads nowhere."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from splitpriv import options
from splitpriv.config import CONF, nearest
from splitpriv.tables.spec import Line, Table, sides
from splitpriv.types import UserError

FOLDER = "table"


def names() -> list[str]:
    """The tables that ship, and those of plug-ins."""
    return options.names(CONF, FOLDER)


def load(name: str, folder: Path | None = None) -> Table:
    """The table of that name; raise UserError with everything that is wrong with its YAML."""
    path = folder / f"{name}.yaml" if folder else options.file(CONF, FOLDER, name)
    if path is None or not path.is_file():
        raise UserError(f"table {name}: there is no such table; {nearest(name, names())}")
    try:
        table = Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
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
        for pattern in (*(size.rows or []), *size.by_row):
            if not any(fnmatchcase(row, pattern) for row in rows):
                problems.append(f"scales.{scale}: {pattern!r} matches no row")
        wrong = [p for p in size.plays or [] if p not in table.plays]
        wrong += [p for p in size.by_play if not any(fnmatchcase(play, p) for play in table.plays)]
        problems += [f"scales.{scale}: no play {p!r}" for p in wrong]
    for i, claim in enumerate(table.claims):
        for row, column in sides(claim, table):
            if row not in known:
                problems.append(f"claims.{i}: no row {row!r}")
            if column not in table.columns:
                problems.append(f"claims.{i}: no column {column!r}")
    return problems
