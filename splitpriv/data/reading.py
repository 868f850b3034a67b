"""What was read from files that people bring, and what was not: said before a run, and kept in its row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

NAMED = 20  # things that one message names
EXAMPLES = 3  # of what was left out, for each reason
DIM = 128  # of 255: where no pixel of a whole set reaches that, its values may have been taken for others
MOST = 1000  # classes whose counts a row lists


def some(names: Sequence[Any], most: int = NAMED) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + more


def shown(name: Any) -> str:
    """A name in characters that any terminal prints as they are."""
    text = str(name).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass
class Reading:
    """Layout, classes with their counts in each pool, everything left out with the reason, and other remarks."""

    layout: str = ""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # pool -> class -> images
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> how many
    examples: dict[str, list[str]] = field(default_factory=dict)  # reason -> the first few
    notes: list[str] = field(default_factory=list)
    files: dict[str, Any] = field(default_factory=dict)  # decode.Census, once the files have been decoded

    def skip(self, reason: str, name: Any, count: int = 1) -> None:
        """Leave something out: `count` entries, of which `name` is one."""
        self.skipped[reason] += count
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(shown(name))

    def note(self, remark: str) -> None:
        """Remark on something, once."""
        if remark not in self.notes:
            self.notes.append(remark)

    def count(self, pool: str, labels: Iterable[str]) -> None:
        """Count the images of each class in a pool."""
        self.counts[pool] = {shown(k): n for k, n in sorted(Counter(labels).items())}

    def facts(self) -> dict[str, Any]:
        """As they stand in a row."""
        facts: dict[str, Any] = {"layout": self.layout, "skipped": dict(sorted(self.skipped.items()))}
        counts = {pool: _bounded(classes) for pool, classes in self.counts.items()}
        return {**facts, **counts, "notes": self.notes, **({"files": self.files} if self.files else {})}

    def lines(self, most: int = NAMED) -> list[str]:
        """As a person reads it, a line for each."""
        lines = [f"layout: {self.layout}"]
        for pool, counts in self.counts.items():
            listed = some([f"{name} {n:,}" for name, n in counts.items()], most)
            lines.append(f"{pool}: {sum(counts.values()):,} images, {len(counts):,} classes: {listed}")
        for reason, n in sorted(self.skipped.items()):
            examples = ", ".join(self.examples[reason])
            lines.append(f"not read: {n:,} {reason} ({examples}{', ...' if n > len(self.examples[reason]) else ''})")
        return [*lines, *(f"note: {note}" for note in self.notes), *self.about_files()]

    def about_files(self) -> list[str]:
        """What the files were, once they have been decoded."""
        if not self.files:
            return []
        census = self.files
        kinds = ", ".join(f"{kind} {n:,}" for kind, n in census["kinds"].items())
        sizes = " to ".join(dict.fromkeys(f"{w}x{h}" for w, h in (census["smallest"], census["largest"])))
        several = (
            f"; {census['several']:,} hold several pictures, of which the first counts" if census["several"] else ""
        )
        values = f"values from {census['low']:g} to {census['high']:g}"
        if census["brightest"] < DIM:
            values += f", the brightest read as {census['brightest']} of 255 (is that white? dataset.value_range)"
        return [f"files: {kinds}; {sizes} pixels; {values}{several}"]


def _bounded(counts: dict[str, int]) -> dict[str, int]:
    if len(counts) <= MOST:
        return counts
    return {"(classes)": len(counts), "(fewest)": min(counts.values()), "(most)": max(counts.values())}
