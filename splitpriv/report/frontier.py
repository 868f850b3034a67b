"""Privacy against utility in numbers, from rows and nothing else: points, front, hypervolume, levels. No matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import itemgetter
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from splitpriv import metrics
from splitpriv.config import nearest
from splitpriv.measure.verdict import doubts_of, verdict
from splitpriv.report import worlds
from splitpriv.report.seeds import alike, by_target
from splitpriv.report.terminal import console
from splitpriv.stats.frontier import GAP, bought_over_seeds, hypervolume, pareto
from splitpriv.stats.interval import Estimate, interval
from splitpriv.store import Row
from splitpriv.types import UserError

PRIVACY = ("privacy/", "information/", "bound/", "fairness/")  # what may stand on the vertical axis
LOSSES = (0.005, 0.01, 0.02)  # of accuracy, at which privacy is reported
SHARES = ("utility/accuracy", "utility/map", "utility/rank1", "utility/rank5", "utility/f1")  # points of which are lost


@dataclass(frozen=True)
class Point:
    """One setting of a chain: its rows over target seeds, with mean utility and privacy."""

    group: str
    rows: list[Row]
    x: Estimate
    y: Estimate

    @property
    def is_sound(self) -> bool:
        """Whether none of its rows is in doubt."""
        return all(verdict(row) == "sound" for row in self.rows)


def points(rows: Sequence[Row], x: str, y: str, by: str) -> list[Point]:
    """Rows that differ in nothing but their seeds, as one point each; attack seeds are averaged within a target's.

    Raises UserError where such rows were made of different things under the same names.
    """
    means = []
    for same in alike(rows):
        estimates = [interval([*by_target(same, itemgetter(k)).values()], within=metrics.within(k)) for k in (x, y)]
        means.append(Point(str(same[0].get(by, "")), same, *estimates))
    return sorted(means, key=lambda p: (p.group, p.x.mean))


def summarise(drawn: Sequence[Point], x: str, y: str, *, rises: bool, reference: tuple[float, float] | None,
              losses: Sequence[float] = LOSSES) -> dict[str, Any]:  # fmt: skip
    """The picture in numbers: points, Pareto front, hypervolume, and the privacy that a loss of utility buys.

    `rises`: whether a higher y is more private; where not, its sign is turned for front and volume. `reference`
    (utility, y): what a point must exceed to count; default: no utility and the undefended y, and without an
    undefended run no volume. A group's volume and privacies are those of every target seed, averaged.
    """
    sign, way = 1 if rises else -1, -1 if is_cost(x) else 1
    low, high = sorted(sign * end for end in metrics.within(y))
    means = [(way * p.x.mean, sign * p.y.mean) for p in drawn]
    bare = [p for p in drawn if p.rows[0]["chain"] == "none"]
    starts = _by_seed(bare, x, y, sign, way)
    undefended = {seed: at[0] for seed, at in starts.items() if len(at) == 1}
    if reference is None and undefended and way > 0:
        reference = (0.0, sign * float(np.mean([at[1] for at in undefended.values()])))
    corner = (way * reference[0], sign * reference[1]) if reference else None
    groups: dict[str, Any] = {}
    for name in dict.fromkeys(p.group for p in drawn):
        lines = _by_seed([p for p in drawn if p.group == name], x, y, sign, way)
        volumes = None
        if corner:
            volumes = interval([hypervolume(line, corner) for line in lines.values()], within=(0.0, inf))
        gained = {f"{loss:g}": bought_over_seeds(lines, undefended, loss, (low, high))
                  for loss in losses if x in SHARES}  # fmt: skip
        groups[name] = {
            "hypervolume": _told(volumes),
            "privacy_at_loss": {loss: {**_told(e[0], sign), "at_least": e[1]} if e else None
                                for loss, e in gained.items()},
        }  # fmt: skip
    return {
        "x": x, "y": y, "higher_is_more_private": rises, "reference": list(reference) if reference else None,
        "undefended": sorted(undefended), "ambiguous": len(undefended) < len(starts),
        "interpolation": "linear between neighbours on the Pareto front of each seed, from its undefended point, where "
                         f"they are no more than {GAP:g} of utility apart; none beyond the measured range",
        "points": [{"group": p.group, "chain": p.rows[0]["chain"], "x": _told(p.x), "y": _told(p.y),
                    "keys": [r["key"] for r in p.rows], "sound": p.is_sound} for p in drawn],
        "pareto": pareto(means), "groups": groups,
    }  # fmt: skip


def is_cost(key: str) -> bool:
    """Whether a key of a row is a price of the device of which less is better, and that repeats on any machine."""
    metric = metrics.find(key)
    return key.startswith("cost/") and metric is not None and metric.better == "lower" and not metric.machine


def _by_seed(drawn: Sequence[Point], x: str, y: str, sign: int, way: int) -> dict[int, list[tuple[float, float]]]:
    lines: dict[int, list[tuple[float, float]]] = {}
    for p in drawn:
        sides = [by_target(p.rows, itemgetter(key)) for key in (x, y)]
        for seed in sides[0]:
            lines.setdefault(seed, []).append((way * sides[0][seed], sign * sides[1][seed]))
    return lines


def _told(e: Estimate | None, sign: int = 1) -> dict[str, Any]:
    if e is None:
        return {}
    ends = [None if v is None else sign * v for v in (e.low, e.high)]
    return {"mean": sign * e.mean, "n": e.n, "low": ends[0 if sign > 0 else 1], "high": ends[1 if sign > 0 else 0]}


def compare(rows: Sequence[Row], *, metric: str, x: str | None = None, y: str | None = None, by: str = "chain",
            reference: tuple[float, float] | None = None) -> tuple[list[Row], list[Point], dict[str, Any]]:  # fmt: skip
    """The rows that can stand on one front, as points, and what these say in numbers.

    `x` and `y` are keys of a row, by default the headline utility and the `metric` of the suite's answer, or of the
    worst case where some row has no suite; `by` is the key that groups. Void rows are left out.
    Raises UserError without points.
    """
    if reference and not all(map(math.isfinite, reference)):
        raise UserError(f"--reference {reference[0]:g} {reference[1]:g}: is no point; give two finite numbers")
    x = x or f"utility/{rows[0].get('headline', 'accuracy')}"
    y = y or f"privacy/{'suite' if all(row.get('suite') for row in rows) else 'worst'}/{metric}"
    worth, told = metrics.find(x), metrics.find(y)
    if not is_cost(x) and (not x.startswith("utility/") or (worth and worth.better == "lower")):
        raise UserError(f"--x {x}: is no utility of which more is better; choose a key under utility/, or a cost such "
                        "as cost/bits_per_image")  # fmt: skip
    if not y.startswith(PRIVACY):
        raise UserError(f"--y {y}: is no measure of privacy; choose a key under {', '.join(PRIVACY)}")
    if not any(by in row for row in rows):
        raise UserError(
            f"--by {by}: no matching run has this key; {nearest(by, sorted({key for row in rows for key in row}))}"
        )
    kept = [row for row in rows if all(_is_finite(row.get(key)) for key in (x, y))]
    if not kept:
        other = [key for row in rows for key in row if key.startswith(PRIVACY) and key.count("/") < 3]
        raise UserError(f"curve: no matching run has both {x} and {y}; choose others with --x and --y; "
                        f"{nearest(y, other)}")  # fmt: skip
    finite, kept = len(kept), [row for row in kept if verdict(row) != "void"]
    if not kept:
        why = next(flag for row in rows for flag in doubts_of(row) if flag.voids)
        raise UserError(f"curve: every matching run is void, one for this: {why.text}; {why.way}")
    worlds.require_one(kept, y.split("/")[1])
    drawn = points(kept, x, y, by)
    numbers = summarise(drawn, x, y, rises=told is not None and told.better == "higher", reference=reference)
    return (
        kept,
        drawn,
        numbers | {"levels": levels(kept, y), "left_out": len(rows) - finite, "void": finite - len(kept)},
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def levels(rows: Sequence[Row], y: str) -> dict[str, float]:
    """What bounds an attack's metric `y`: what is known without the release, without the defence, and of clean x."""
    group, name, metric = (*y.split("/"), "", "")[:3]
    if group != "privacy":
        return {}
    bare = [row for row in rows if row["chain"] == "none"]
    sources = {
        "mean image: nothing learnt from z": (rows, f"floor/mean_image/{metric}"),
        "commonest value": (rows, f"floor/prior/{metric}"),
        "guess of the majority": (rows, f"privacy/{name}/majority" if metric == "accuracy" else ""),
        "guess from the label": (rows, f"privacy/{name}/label_{metric}"),
        "order that says nothing": (rows, f"privacy/{name}/chance_{metric}"),
        "undefended": (bare, y) if bare else (rows, f"ceiling/{name}/{metric}"),
        "clean x": (rows, f"clean/{name}/{metric}"),
    }
    known = {label: [row[key] for row in of if _is_finite(row.get(key))] for label, (of, key) in sources.items()}
    return {label: float(np.mean(values)) for label, values in known.items() if values}


def print_frontier(numbers: Mapping[str, Any]) -> None:
    """What a curve says in numbers: hypervolume, and the privacy that a loss of utility buys."""
    losses = list(next(iter(numbers["groups"].values()))["privacy_at_loss"]) if numbers["undefended"] else []
    table = Table(pad_edge=False)
    table.add_column("group")
    if numbers["reference"]:
        table.add_column("hypervolume", justify="right")
    for loss in losses:
        table.add_column(f"at {100 * float(loss):g} points of loss", justify="right")
    for name, group in numbers["groups"].items():
        volume = [_estimate(group["hypervolume"])] if numbers["reference"] else []
        table.add_row(escape(name), *volume, *(_estimate(group["privacy_at_loss"][loss]) for loss in losses))
    console().print(escape(f"{numbers['y']} against {numbers['x']}"))
    if len(table.columns) > 1:
        console().print(table)
    notes = [f"{label}: {level:.4g}" for label, level in numbers["levels"].items()]
    if numbers["reference"]:
        x, y = numbers["reference"]
        notes.append(f"reference of the hypervolume: ({x:.4g}, {y:.4g})")
    else:
        notes.append("a hypervolume needs an undefended run (chain none), or --reference UTILITY PRIVACY")
    if numbers["ambiguous"]:
        notes.append("several undefended settings: privacy at a loss of utility needs one; choose with --where")
    elif not numbers["undefended"]:
        notes.append("privacy at a loss of utility needs an undefended run (chain none) of the same seeds")
    else:
        notes.append(numbers["interpolation"])
    if numbers["left_out"]:
        notes.append(f"left out: {numbers['left_out']} runs without a finite {numbers['x']} and {numbers['y']}")
    if numbers["void"]:
        notes.append(f"left out: {numbers['void']} void runs (see `splitpriv rows`)")
    if not all(point["sound"] for point in numbers["points"]):
        notes.append("hollow: doubtful runs")
    for note in notes:
        console().print(f"[dim]{escape(note)}[/]")


def _estimate(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "not measured"
    sign = "≥ " if told.get("at_least") else ""
    if told["low"] is None:
        return f"{sign}{told['mean']:.4g} (n=1)"
    return f"{sign}{told['mean']:.4g} [{told['low']:.4g}, {told['high']:.4g}]"
