"""Places of chains on a board: a range where intervals overlap, none for too few seeds. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

LEAST = 3  # seeds from which an interval ranks


@dataclass(frozen=True)
class Place:
    """Between which places a chain lies; `first` = `last` where no interval touches its own.

    `why`: in words why there is none, where `first` is None.
    """

    first: int | None
    last: int | None = None
    why: str = ""

    def record(self) -> dict[str, Any]:
        """As the site's JSON has it."""
        return {"first": self.first, "last": self.last, "tied": self.first != self.last, "why": self.why}


def places(told: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Place]:
    """The place of every chain by an estimate {mean, n, low, high, at_least} of which more is better.

    Two chains are in order where their intervals do not touch, and tied otherwise; an estimate that is a least one has
    no upper end. None is not measured at this loss of utility.
    """
    ends = {name: span for name, e in told.items() if (span := _span(e)) is not None}
    found: dict[str, Place] = {}
    for name, e in told.items():
        if name in ends:
            low, high = ends[name]
            before = sum(other > high for other, _ in ends.values())
            after = sum(other < low for _, other in ends.values())
            found[name] = Place(1 + before, len(ends) - after)
        else:
            found[name] = Place(None, why=_why(e))
    return found


def _span(e: Mapping[str, Any] | None) -> tuple[float, float] | None:
    if e is None or e["n"] < LEAST or e["low"] is None or e["high"] is None:
        return None
    return e["low"], inf if e.get("at_least") else e["high"]


def _why(e: Mapping[str, Any] | None) -> str:
    if e is None:
        return "not measured at this loss"
    return f"n = {e['n']}, needs {LEAST}" if e["n"] < LEAST else "no interval"
