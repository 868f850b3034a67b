"""Places of chains on a board, and its front: ranges where intervals overlap, none for too few seeds. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

LEAST, SHIPPED = 3, 5  # seeds from which an interval ranks; on data that ship, where seeds are cheap


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


def places(told: Mapping[str, Mapping[str, Any] | None], least: int = LEAST) -> dict[str, Place]:
    """The place of every chain by an estimate {mean, n, low, high, at_least} of which more is better.

    Two chains are in order where their intervals do not touch, and tied otherwise; an estimate that is a least one has
    no upper end, so that it is below nobody. Fewer than `least` seeds do not rank. None is not measured at this loss of
    utility.
    """
    ends = {name: span for name, e in told.items() if (span := _span(e, least)) is not None}
    found: dict[str, Place] = {}
    for name, e in told.items():
        if name in ends:
            low, high = ends[name]
            before = sum(other > high for other, _ in ends.values())
            after = sum(other < low for _, other in ends.values())
            found[name] = Place(1 + before, len(ends) - after)
        else:
            found[name] = Place(None, why=_why(e, least))
    return found


def _span(e: Mapping[str, Any] | None, least: int) -> tuple[float, float] | None:
    if e is None or e["n"] < least or e["low"] is None or e["high"] is None:
        return None
    return e["low"], inf if e.get("at_least") else e["high"]


def _why(e: Mapping[str, Any] | None, least: int) -> str:
    if e is None:
        return "not measured at this loss"
    return f"n = {e['n']}, needs {least}" if e["n"] < least else "no interval"


def front(line: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], least: int) -> str:
    """Whether a setting is on the front: from `least` seeds on where no other beats it in both directions by intervals
    that do not touch, below that by its means, which is said; empty where not."""
    span = _spans(line, least)
    if span is None:
        return f"front (n = {line['attacked']['1']['mse']['n']})" if line["means"] else ""
    others = [other for each in lines if (other := _spans(each, least)) and each is not line]
    beaten = any(other[0][1] < span[0][0] and other[1][0] > span[1][1] for other in others)
    return "" if beaten else "front"


def _spans(line: Mapping[str, Any], least: int) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The intervals of a setting's loss, of which the undefended has none to lose, and of the suite's error at once."""
    lost, left = line["loss"], (line["attacked"].get("1") or {}).get("mse")
    if line["chain"] == "none" and lost:
        lost = {**lost, "low": lost["mean"], "high": lost["mean"]}
    if not lost or not left or left["n"] < least or None in (lost["low"], lost["high"], left["low"], left["high"]):
        return None
    return (lost["low"], lost["high"]), (left["low"], left["high"])
