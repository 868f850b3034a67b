"""What finished runs say in every cell of a table: one value per target seed, its mean and interval, its flags."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from splitpriv import metrics
from splitpriv.measure.verdict import doubts_of, weigh
from splitpriv.stats.interval import Estimate, Method, interval, over_targets
from splitpriv.store import Row
from splitpriv.tables.cells import Cell, State
from splitpriv.tables.spec import Table

ABSENT = "not part"  # of this scale, or of this row
NOT_RUN = "not run"  # an attack that the runs of this scale leave out
ORDER: tuple[State, ...] = ("failed", "partial", "missing", "refused", "unsupported", "cached")


@dataclass
class Entry:
    """One number of a table: ours per target seed, its estimate, and the printed one."""

    seeds: dict[int, float] = field(default_factory=dict)
    estimate: Estimate | None = None
    printed: float | None = None
    state: str = ""  # why ours is not there
    remark: str = ""

    @property
    def difference(self) -> float | None:
        """Ours less the printed."""
        return None if self.estimate is None or self.printed is None else self.estimate.mean - self.printed


@dataclass
class Results:
    """All entries of a table at one scale, by row and column; flags and the worst verdict by row."""

    table: Table
    entries: dict[tuple[str, str], Entry]
    rows: list[str]  # those of the scale, then the averages
    flags: dict[str, list[str]]
    verdicts: Mapping[str, str]  # none where nothing was run
    method: Method
    runs: dict[tuple[str, str], list[Row]]  # behind the entry of a row and column

    def is_exact(self, column: str) -> bool:
        """Whether a column's numbers do not depend on chance."""
        return _is_exact(self.table.columns[column].key)

    def attacker(self, column: str) -> str:
        """Whose numbers a column holds: "suite", "worst" or an attack; empty where it holds no attack's."""
        group, _, rest = (self.table.columns[column].key or "").partition("/")
        return rest.partition("/")[0] if group == "privacy" else ""

    def seeds(self, row: str, column: str) -> dict[int, float]:
        """Target seed -> value."""
        entry = self.entries.get((row, column))
        return entry.seeds if entry else {}


def gather(
    table: Table, cells: Sequence[Cell], rows: Mapping[tuple[str, str], Mapping[tuple[int, int], Row]],
    method: Method = "t",
) -> Results:  # fmt: skip
    """Put the rows of `cells.rows_of` in their places."""
    names = list(dict.fromkeys(cell.row for cell in cells))
    entries: dict[tuple[str, str], Entry] = {}
    behind: dict[tuple[str, str], list[Row]] = {}
    for name in names:
        for label, column in table.columns.items():
            entry = Entry(printed=table.value(name, label))
            entries[name, label] = entry
            if column.key is None:
                continue
            play = table.play_of(label)
            runs = rows.get((name, play), {})
            numbers = {at: _value(row, _own(row, column.key)) for at, row in runs.items()}
            values = {at: value * column.times for at, value in numbers.items() if value is not None}
            if values:
                entry.seeds = over_targets(values)
                behind[name, label] = [runs[at] for at in values]
            else:
                entry.state = _state([c for c in cells if (c.row, c.play) == (name, play)], runs.values(), column.key)
    flags = {name: _flags(table, name, rows) for name in names}
    every = {name: [row for play in table.plays for row in rows.get((name, play), {}).values()] for name in names}
    _averages(table, names, entries, flags)
    for (_, label), entry in entries.items():
        if entry.seeds:
            column = table.columns[label]
            ends = sorted(column.times * end for end in metrics.within(column.key or ""))
            entry.estimate = interval(list(entry.seeds.values()), method, exact=_is_exact(column.key),
                                      within=(ends[0], ends[1]))  # fmt: skip
    averages = [name for name in table.averages if any(row == name for row, _ in entries)]
    for name in averages:
        members = table.averages[name]
        every[name] = [row for member in members for row in every.get(member, [])]
        for label in table.columns:
            behind[name, label] = [row for member in members for row in behind.get((member, label), [])]
    verdicts = {name: weigh([flag for row in of for flag in doubts_of(row)]) for name, of in every.items() if of}
    return Results(table, entries, [*names, *averages], flags, verdicts, method, behind)


def _is_exact(key: str | None) -> bool:
    metric = metrics.find(key or "")
    return metric is not None and metric.exact


def _own(row: Row, key: str) -> str:
    """An undefended row is its own ceiling."""
    return key.replace("ceiling/", "privacy/", 1) if row.get("ceiling") == row.get("key", "") else key


def _value(row: Row, key: str) -> float | None:
    """The number at a key; `*` stands for any part, as for the name of an attribute."""
    named = [name for name in row if fnmatchcase(name, key)] if "*" in key else [key]
    values = [v for v in map(row.get, named) if isinstance(v, int | float) and not isinstance(v, bool)]
    return float(values[0]) if values else None


def _state(cells: Sequence[Cell], runs: Collection[Row], key: str) -> str:
    """In one word or line, why a cell is empty."""
    if not cells:
        return ABSENT
    if runs:
        group, _, rest = key.partition("/")
        if group == "ceiling":
            return "no undefended run"
        attack = f"privacy/{rest.partition('/')[0]}/*"
        if group in ("privacy", "clean") and not any(fnmatchcase(k, attack) for row in runs for k in row):
            return NOT_RUN
        return f"row has no {key}"
    worst = min((cell for cell in cells), key=lambda cell: ORDER.index(cell.state))
    return worst.problems[0] if worst.state in ("unsupported", "refused") and worst.problems else worst.state


def _flags(
    table: Table, name: str, rows: Mapping[tuple[str, str], Mapping[tuple[int, int], Row]]
) -> list[str]:  # fmt: skip
    """Flags of every run of a row, with the plays and the seeds that they hold for where those are not all."""
    seen: dict[str, dict[str, set[int]]] = {}
    ran: dict[str, set[int]] = {}
    for play in table.plays:
        for (seed, _), row in rows.get((name, play), {}).items():
            ran.setdefault(play, set()).add(seed)
            for flag in doubts_of(row):
                seen.setdefault(flag.text, {}).setdefault(play, set()).add(seed)
    out = []
    for line, plays in seen.items():
        where = "" if set(plays) == set(ran) else f"{', '.join(plays)}: "
        seeds = sorted(set().union(*plays.values()))
        some = "" if all(plays[p] == ran[p] for p in plays) else f" (seed {', '.join(map(str, seeds))})"
        out.append(f"{where}{line}{some}")
    out += [f"errata: {e.column}: {e.says}" for e in table.errata if e.row == name]
    note = table.rows[name].note if name in table.rows else None
    return [*out, *([f"note: {note}"] if note else [])]


def _averages(
    table: Table, names: Sequence[str], entries: dict[tuple[str, str], Entry], flags: dict[str, list[str]]
) -> None:
    """Averages over rows. Those of equal length are twins, compared position by position: they take the positions, and
    the seeds, that all of them have, and say how many these are.
    """
    for average, members in table.averages.items():
        if not any(member in names for member in members):
            continue
        flags[average] = [f"errata: {e.column}: {e.says}" for e in table.errata if e.row == average]
        twins = [other for other in table.averages.values() if len(other) == len(members)]
        for column in table.columns:
            sets = [[entries.get((row, column), Entry()).seeds for row in twin] for twin in twins]
            held = [i for i in range(len(members)) if all(rows[i] for rows in sets)]
            common = set.intersection(*(set(rows[i]) for rows in sets for i in held)) if held else set()
            states = {entries[row, column].state for row in members if (row, column) in entries}
            entry = Entry(printed=table.value(average, column), state=ABSENT if states == {ABSENT} else "missing")
            entries[average, column] = entry
            if common:
                mine = [entries[members[i], column].seeds for i in held]
                entry.seeds = {s: math.fsum(m[s] for m in mine) / len(mine) for s in sorted(common)}
                if len(held) < len(members):
                    entry.remark = f"{len(held)} of {len(members)} rows"
