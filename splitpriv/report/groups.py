"""Rows of one kind as one line: means over target seeds with their 95 % intervals, as tables and curves have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from splitpriv import metrics
from splitpriv.report.columns import Column, heading, show, text
from splitpriv.report.seeds import APART, alike, by_target
from splitpriv.report.worlds import unlike
from splitpriv.stats.interval import Estimate, interval
from splitpriv.store import Row

WORST_FIRST = ("void", "doubtful", "sound")


@dataclass(frozen=True)
class Group:
    """Rows that say the same at the keys they are grouped by; `differ`: settings, not seeds, in which they do not."""

    rows: list[Row]
    differ: list[str]

    @property
    def verdict(self) -> str:
        """The worst of its rows."""
        return min((row["verdict"] for row in self.rows), key=WORST_FIRST.index)

    @property
    def n(self) -> int:
        """Target seeds."""
        return len({row["seed"] for row in self.rows})

    def mean(self, key: str) -> Estimate | None:
        """Over target seeds, attack seeds averaged within each; without an interval where settings differ, too."""
        said = [row for row in self.rows if _is_number(row.get(key))]
        if not said:
            return None
        if self.differ:
            return Estimate(sum(row[key] for row in said) / len(said), len(said))
        seeds, found = by_target(said, itemgetter(key)), metrics.find(key)
        return interval(list(seeds.values()), exact=bool(found and found.exact), within=metrics.within(key))


def groups(rows: Sequence[Row], by: Sequence[str]) -> list[Group]:
    """Rows by what they say at the keys `by`, in the order in which they came.

    Raises UserError where rows of a group share all settings but were made of different things under the same names.
    """
    same: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        same.setdefault(tuple(text(row, key) for key in by), []).append(row)
    for members in same.values():
        alike(members)
    return [Group(members, _differ(members)) for members in same.values()]


def _differ(rows: Sequence[Row]) -> list[str]:
    keys = dict.fromkeys(key for row in rows for key in row if "/" not in key and key not in APART)
    told = (key for key in keys if len({str(row.get(key)) for row in rows}) > 1)
    return [key for key in told if key != "headline"]


def print_groups(rows: Sequence[Row], by: Sequence[str], keys: Sequence[str]) -> None:
    """One line for each kind of rows."""
    shown, notes = columns(groups(rows, by), by, keys)
    show(shown, notes=[*notes, *unlike(rows)])


def columns(grouped: Sequence[Group], by: Sequence[str], keys: Sequence[str]) -> tuple[list[Column], list[str]]:
    """What a table of groups shows of `keys`, and a line on groups whose rows differ in more than seeds."""
    first = [Column(heading(key), [text(group.rows[0], key) for group in grouped]) for key in by]
    shown = [
        Column("verdict", [group.verdict for group in grouped], rank=1),
        *first,
        Column("n", [str(group.n) for group in grouped], right=True),
        *(Column(heading(key), [_told(group, key) for group in grouped], rank=3 + i, right=True)
          for i, key in enumerate(keys) if key not in by),
    ]  # fmt: skip
    mixed = [
        f"{text(g.rows[0], by[0])}: differs in {', '.join(g.differ[:3])}{' and more' if len(g.differ) > 3 else ''}"
        for g in grouped if g.differ
    ]  # fmt: skip
    notes = ["± half of a 95 % interval over n target seeds, or its ends where one is a limit; ↑ higher or ↓ lower is "
             "better for the device"]  # fmt: skip
    if mixed:
        notes.append(f"means without ± mix settings ({'; '.join(mixed[:3])}); name them in --by to tell them apart")
    return shown, notes


def records(grouped: Sequence[Group], by: Sequence[str], keys: Sequence[str]) -> list[dict[str, Any]]:
    """The same for a spreadsheet: of every number its mean, and the ends of its interval where it has one."""
    out = []
    for group in grouped:
        line: dict[str, Any] = {key: group.rows[0].get(key) for key in by}
        line |= {"verdict": group.verdict, "n": group.n, "rows": len(group.rows)}
        for key in keys:
            if key in by:
                continue
            mean = group.mean(key)
            line[key] = mean.mean if mean else _told(group, key)
            line |= {f"{key}:low": mean.low, f"{key}:high": mean.high} if mean else {}
        out.append(line)
    return out


def _told(group: Group, key: str) -> str:
    mean = group.mean(key)
    if mean is None:
        said = list(dict.fromkeys(text(row, key) for row in group.rows))
        return said[0] if len(said) == 1 else f"{len(said)} values"
    metric = metrics.find(key)
    write = metric.text if metric else "{:.4g}".format
    if mean.low is None or mean.high is None:
        return write(mean.mean)
    ends = f"[{write(mean.low)}, {write(mean.high)}]" if mean.half is None else f"± {write(mean.half)}"
    return f"{write(mean.mean)} {ends}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
