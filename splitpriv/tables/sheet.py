"""What a table says, before any format: ours beside printed in words, marks of flags, notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from splitpriv.metrics import ARROWS
from splitpriv.stats.interval import BOOTSTRAPPED
from splitpriv.tables.results import ABSENT, NOT_RUN

if TYPE_CHECKING:
    from splitpriv.tables.results import Entry, Results
    from splitpriv.tables.spec import Column


@dataclass(frozen=True)
class Text:
    """One entry in words: ours with its interval, printed, ours less printed, number of target seeds."""

    ours: str
    printed: str = ""
    difference: str = ""
    n: str = ""


def words(entry: Entry, column: Column, method: str, tolerance: float | None = None) -> Text:
    """The words of an entry. "±" needs two target seeds and ends equally far, else it reads n=1, or both ends."""
    printed = "" if entry.printed is None else f"{entry.printed:{column.format}}"
    if printed and tolerance:
        printed = f"≈{printed}"
    if entry.estimate is None:
        return Text(entry.state, printed)
    estimate = entry.estimate
    ours = f"{estimate.mean:{column.format}}"
    if estimate.low is None or estimate.high is None:
        ours += f" (n={estimate.n})"
    elif method == "t" and estimate.half is not None:
        ours += f" ±{estimate.half:{column.format}}"
    else:
        ours += f" [{estimate.low:{column.format}}, {estimate.high:{column.format}}]"
    if entry.remark:
        ours += f", {entry.remark}"
    sign = "" if entry.difference is None else f"{entry.difference:+{column.format}}".replace("-", "−")
    return Text(ours, printed, sign, str(estimate.n))


class Sheet:
    """What every format writes: heads, rows of words with the worst verdict of their runs, marks of flags and their
    meaning."""

    def __init__(self, results: Results, scale: str) -> None:
        self.results, self.scale, table = results, scale, results.table
        self.title = f"{table.title} · {scale}"
        self.columns = [(name, column) for name, column in table.columns.items() if self.used(name)]
        self.heads = [f"{c.label} {ARROWS[c.better]}".rstrip() for _, c in self.columns]
        self.wide = [any(results.entries[row, name].printed is not None for row in results.rows)
                     for name, _ in self.columns]  # fmt: skip
        self.keyed = [column.key is not None for _, column in self.columns]
        self.legend: dict[str, str] = {}
        for flags in results.flags.values():
            for flag in flags:
                self.legend.setdefault(flag, _letters(len(self.legend)))
        self.lines = [
            (row, results.verdicts.get(row, ""), self.marks(row),
             [self.words(row, name, c) for name, c in self.columns], self.n(row)) for row in results.rows
        ]  # fmt: skip

    def words(self, row: str, name: str, column: Column) -> Text:
        entry = self.results.entries[row, name]
        return words(entry, column, self.results.method, self.results.table.printed.tolerance.get(name))

    def used(self, name: str) -> bool:
        """Whether a column has anything to say at this scale: not one of ours alone whose attack was left out."""
        entries = [entry for (_, column), entry in self.results.entries.items() if column == name]
        if any(entry.printed is not None or entry.seeds for entry in entries):
            return True
        states = {entry.state for entry in entries}
        return NOT_RUN not in states and states != {ABSENT}

    def marks(self, row: str) -> str:
        """The letters of a row's flags."""
        return ",".join(self.legend[flag] for flag in self.results.flags.get(row, []))

    def n(self, row: str) -> str:
        """The number of target seeds, a range where columns differ."""
        counts = [e.estimate.n for (r, _), e in self.results.entries.items() if r == row and e.estimate]
        return "" if not counts else str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)}–{max(counts)}"

    def flat(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows with ours, printed and the difference side by side."""
        heads = ["row"]
        for head, keyed, wide in zip(self.heads, self.keyed, self.wide, strict=True):
            heads += [head] if keyed else []
            heads += [f"{head}, printed" if keyed else head] if wide or not keyed else []
            heads += ["Δ"] if wide and keyed else []
        rows = []
        for row, verdict, marks, texts, n in self.lines:
            line = [row]
            for text, keyed, wide in zip(texts, self.keyed, self.wide, strict=True):
                line += [text.ours] if keyed else []
                line += [text.printed] if wide or not keyed else []
                line += [text.difference] if wide and keyed else []
            rows.append([*line, n, verdict, marks])
        return [*heads, "n", "verdict", "flags"], rows

    def record(self, name: str) -> dict[str, Any]:
        """The sheet as the dashboard shows it."""
        heads, rows = self.flat()
        notes = [*self.notes(), *(f"{letter}: {flag}" for flag, letter in self.legend.items())]
        return {"name": f"{name} · {self.scale}", "title": self.title, "columns": heads, "rows": rows, "notes": notes}

    def notes(self) -> list[str]:
        """What stands below the table."""
        table, kind = self.results.table, {
            "t": "Student's t", "percentile": f"bootstrap, Student's t below {BOOTSTRAPPED} seeds",
            "bca": f"BCa bootstrap, Student's t below {BOOTSTRAPPED} seeds",
        }  # fmt: skip
        out = [f"Printed: {table.source}.", *table.notes]
        out.append(
            f"Ours: mean over n target seeds with a 95 % interval ({kind[self.results.method]}); attack seeds are "
            "averaged within a target seed; Δ is ours less printed."
        )
        if any(entry.state == NOT_RUN for entry in self.results.entries.values()):
            out.append(f"{NOT_RUN}: the runs of scale {self.scale} leave this attack out.")
        if table.printed.tolerance:
            told = ", ".join(f"{name} to ±{t:g}" for name, t in table.printed.tolerance.items())
            out.append(f"≈: printed values read by eye from a figure ({told}).")
        if table.points:
            for series, points in table.points.series.items():
                told = " ".join(f"({x:g}, {y:g})" for x, y in points)
                out.append(f"Printed curve, by eye, {series}: ({table.points.x}, {table.points.y}) = {told}.")
        return out


def _letters(i: int) -> str:
    return chr(97 + i) if i < 26 else _letters(i // 26 - 1) + chr(97 + i % 26)
