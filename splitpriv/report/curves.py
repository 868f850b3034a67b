"""Privacy against utility, drawn from rows and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from splitpriv.config import nearest
from splitpriv.measure import pictures
from splitpriv.stats.frontier import GAP, bought_over_seeds, hypervolume, pareto
from splitpriv.stats.interval import Estimate, interval, over_targets
from splitpriv.store import Row, Store, write_atomic
from splitpriv.types import UserError

# Okabe and Ito's palette: told apart by colour-blind readers and in print; markers repeat the distinction.
# His yellow, too pale for a line, is Tol's wine. Seven markers on eight colours repeat after 56 groups.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#882255", "#000000")
MARKERS = "osD^vPX"
LABELS = {"mse": "MSE", "psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS"}
RISES = {"mse", "lpips", "knn_loss_percent", "dfil_mse_unbiased"}  # where more is more private
PRIVACY = ("privacy/", "information/", "bound/", "fairness/")  # what may stand on the vertical axis
SHOWN = 8  # chains whose reconstructions fit beside the plot
LOSSES = (0.005, 0.01, 0.02)  # of accuracy, at which privacy is reported
SHARES = ("utility/accuracy", "utility/map", "utility/rank1", "utility/rank5")  # points of which are lost
WORLD = ("dataset", "backbone", "task", "cut", "protocol", "knowledge")  # what runs of one front have in common
APART = ("seed", "attack_seed", "key", "fit", "commit", "trajectory", "flags", "ceiling")  # what seeds may change


@dataclass(frozen=True)
class Point:
    """One setting of a chain: its rows over target seeds, with mean utility and privacy."""

    group: str
    rows: list[Row]
    x: Estimate
    y: Estimate


def points(rows: Sequence[Row], x: str, y: str, by: str) -> list[Point]:
    """Rows that differ in nothing but their seeds, as one point each; attack seeds are averaged within a target's."""
    settings: dict[str, list[Row]] = {}
    for row in rows:
        told = {k: v for k, v in row.items() if "/" not in k and k not in APART}
        settings.setdefault(json.dumps(told, sort_keys=True, default=str), []).append(row)
    found = []
    for same in settings.values():
        sides = [over_targets({(r["seed"], r["attack_seed"]): r[key] for r in same}) for key in (x, y)]
        estimates = [interval(list(side.values())) for side in sides]
        found.append(Point(str(same[0].get(by, "")), same, *estimates))
    return sorted(found, key=lambda p: (p.group, p.x.mean))


def summarise(found: Sequence[Point], x: str, y: str, *, rises: bool, reference: tuple[float, float] | None,
              losses: Sequence[float] = LOSSES) -> dict[str, Any]:  # fmt: skip
    """The picture in numbers: points, Pareto front, hypervolume, and the privacy that a loss of utility buys.

    `rises`: whether a higher y is more private; where not, its sign is turned for front and volume. `reference`
    (utility, y): what a point must exceed to count; default: no utility and the undefended y, and without an
    undefended run no volume. A group's volume and privacies are those of every target seed, averaged.
    """
    sign = 1 if rises else -1
    means = [(p.x.mean, sign * p.y.mean) for p in found]
    bare = [p for p in found if p.rows[0]["chain"] == "none"]
    starts = _by_seed(bare, x, y, sign)
    undefended = {seed: at[0] for seed, at in starts.items() if len(at) == 1}
    if reference is None and undefended:
        reference = (0.0, sign * float(np.mean([at[1] for at in undefended.values()])))
    corner = (reference[0], sign * reference[1]) if reference else None
    groups: dict[str, Any] = {}
    for name in dict.fromkeys(p.group for p in found):
        lines = _by_seed([p for p in found if p.group == name], x, y, sign)
        volumes = interval([hypervolume(line, corner) for line in lines.values()]) if corner else None
        gained = {f"{loss:g}": bought_over_seeds(lines, undefended, loss) for loss in losses if x in SHARES}
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
                    "keys": [r["key"] for r in p.rows]} for p in found],
        "pareto": pareto(means), "groups": groups,
    }  # fmt: skip


def _by_seed(found: Sequence[Point], x: str, y: str, sign: int) -> dict[int, list[tuple[float, float]]]:
    lines: dict[int, list[tuple[float, float]]] = {}
    for p in found:
        sides = [over_targets({(r["seed"], r["attack_seed"]): r[key] for r in p.rows}) for key in (x, y)]
        for seed in sides[0]:
            lines.setdefault(seed, []).append((sides[0][seed], sign * sides[1][seed]))
    return lines


def _told(e: Estimate | None, sign: int = 1) -> dict[str, Any]:
    if e is None:
        return {}
    ends = [None if v is None else sign * v for v in (e.low, e.high)]
    return {"mean": sign * e.mean, "n": e.n, "low": ends[0 if sign > 0 else 1], "high": ends[1 if sign > 0 else 0]}


def draw(rows: Sequence[Row], store: Store, out: Path, *, metric: str, x: str | None = None, y: str | None = None,
         by: str = "chain", reference: tuple[float, float] | None = None) -> dict[str, Any]:  # fmt: skip
    """Write one picture (PNG, SVG or PDF by its ending, or the JSON of its numbers) and return those numbers.

    Every point is a setting, averaged over its target seeds, with intervals; `x` and `y` are keys of a row, by default
    the headline utility and the worst case of `metric`; `by` is the key that colours. Raises UserError without points.
    """
    x = x or f"utility/{rows[0].get('headline', 'accuracy')}"
    y = y or f"privacy/worst/{metric}"
    if not x.startswith("utility/") or x == "utility/cross_entropy":
        raise UserError(f"--x {x}: is no utility of which more is better; choose a key under utility/")
    if not y.startswith(PRIVACY):
        raise UserError(f"--y {y}: is no measure of privacy; choose a key under {', '.join(PRIVACY)}")
    if not any(by in row for row in rows):
        raise UserError(
            f"--by {by}: no matching run has this key; {nearest(by, sorted({key for row in rows for key in row}))}"
        )
    kept = [row for row in rows if all(_is_finite(row.get(key)) for key in (x, y))]
    if not kept:
        raise UserError(f"curve: no matching run has both {x} and {y}; choose others with --x and --y")
    _require_one_world(kept, y)
    last = y.rsplit("/", 1)[-1]
    found = points(kept, x, y, by)
    rises = last in RISES
    numbers = summarise(found, x, y, rises=rises, reference=reference)
    numbers |= {"levels": levels(kept, y), "left_out": len(rows) - len(kept)}
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".json":
        write_atomic(out, json.dumps(numbers, indent=1) + "\n")
        return numbers
    strips = _strips(kept, store)
    width, height = (13, max(4.5, 1 + 0.85 * len(strips))) if strips else (7, 4.8)
    figure = plt.figure(figsize=(width, height), layout="constrained")
    halves = figure.add_gridspec(1, 2 if strips else 1, width_ratios=[1, 1.15] if strips else [1])
    _scatter(figure.add_subfigure(halves[0]).subplots(), found, numbers, kept, last)
    if strips:
        _pictures(figure.add_subfigure(halves[1]), strips)
    figure.savefig(out, dpi=130)
    plt.close(figure)
    return numbers


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require_one_world(rows: Sequence[Row], y: str) -> None:
    """Raise UserError unless the runs share their world and, for a worst case, the attacks that it is taken over."""
    told = [{key: str(row.get(key, "")) for key in WORLD} for row in rows]
    if y.startswith("privacy/worst/"):
        told = [{**world, "attacks": " ".join(sorted(_attacks(row)))} for world, row in zip(told, rows, strict=True)]
    for key in told[0]:
        values = sorted({world[key] for world in told})
        if len(values) > 1:
            remedy = "--y privacy/ATTACK/METRIC" if key == "attacks" else f"--where {key}=…"
            raise UserError(f"curve: these runs cannot share one front, their {key} differ ({'; '.join(values)}); "
                            f"choose with {remedy}")  # fmt: skip


def _attacks(row: Row) -> set[str]:
    return {key.split("/")[1] for key in row if key.startswith("privacy/")} - {"worst"}


def _scatter(axes: Axes, found: Sequence[Point], numbers: dict[str, Any], rows: Sequence[Row], metric: str) -> None:
    groups = list(dict.fromkeys(p.group for p in found))
    for i, group in enumerate(groups):
        mine = [p for p in found if p.group == group]
        colour = COLOURS[i % len(COLOURS)]
        x, y = [p.x.mean for p in mine], [p.y.mean for p in mine]
        if len(mine) > 1:
            axes.plot(x, y, color=colour, linewidth=1, alpha=0.7)
        if any(p.y.low is not None for p in mine):
            ends = [(p.y.low if p.y.low is not None else p.y.mean, p.y.high if p.y.high is not None else p.y.mean)
                    for p in mine]  # fmt: skip
            if len(mine) > 1:
                low, high = zip(*ends, strict=True)
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.errorbar(x, y, _bars([p.y for p in mine]), _bars([p.x for p in mine]), fmt="none", ecolor=colour,
                          elinewidth=1, capsize=3, alpha=0.8)  # fmt: skip
        marker = MARKERS[i % len(MARKERS)]
        axes.scatter(x, y, s=60, color=colour, marker=marker, edgecolor="black", linewidth=0.5, zorder=3)
        axes.annotate(group, (x[-1], y[-1]), xytext=(7, 5), textcoords="offset points")
    front = [found[i] for i in numbers["pareto"]]
    axes.plot([p.x.mean for p in front], [p.y.mean for p in front], color="grey", linestyle=":", linewidth=1.2,
              drawstyle="steps-pre", zorder=1)  # fmt: skip
    for (label, level), style in zip(numbers["levels"].items(), cycle(("--", "-.", ":"))):  # endless on purpose
        axes.axhline(level, color="grey", linestyle=style, linewidth=1)
        axes.annotate(label, (0.02, level), xycoords=("axes fraction", "data"), xytext=(0, 4),
                      textcoords="offset points", color="grey", fontsize=9)  # fmt: skip
    axes.set_xlim(_frame([p.x for p in found], []))
    axes.set_ylim(_frame([p.y for p in found], list(numbers["levels"].values())))
    axes.set_xlabel(numbers["x"].split("/", 1)[-1].replace("_", " "))
    if numbers["x"] in ("utility/accuracy", "utility/map"):
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}".replace(".0%", "%"))
    way = "higher" if numbers["higher_is_more_private"] else "lower"
    what = "of the best attack, per image" if "/worst/" in numbers["y"] else f"({numbers['y']})"
    axes.set_ylabel(f"{LABELS.get(metric, metric)} {what} ({way} is more private)")
    attacks = set().union(*map(_attacks, rows))
    n = sorted({p.y.n for p in found})
    seeds = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    names = ", ".join(sorted({row["dataset"] for row in rows}))
    axes.set_title(f"{names}: {' and '.join(sorted(attacks))}; {seeds}; dotted: Pareto front", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def levels(rows: Sequence[Row], y: str) -> dict[str, float]:
    """What bounds an attack's metric `y`: what is known without the release, without the defence, and of clean x."""
    group, name, metric = (*y.split("/"), "", "")[:3]
    if group != "privacy":
        return {}
    bare = [row for row in rows if row["chain"] == "none"]
    sources = {
        "mean image: nothing learnt from z": (rows, f"floor/mean_image/{metric}"),
        "guess of the majority": (rows, f"privacy/{name}/majority" if metric == "accuracy" else ""),
        "guess from the label": (rows, f"privacy/{name}/label_{metric}"),
        "order that says nothing": (rows, f"privacy/{name}/chance_{metric}"),
        "undefended": (bare, y) if bare else (rows, f"ceiling/{name}/{metric}"),
        "clean x": (rows, f"clean/{name}/{metric}"),
    }
    known = {label: [row[key] for row in of if row.get(key) is not None] for label, (of, key) in sources.items()}
    return {label: float(np.mean(values)) for label, values in known.items() if values}


def _bars(estimates: Sequence[Estimate]) -> np.ndarray:
    """The lengths of intervals below and above their means, (2, points); none where there is no interval."""
    ends = [(e.low, e.high) if e.low is not None and e.high is not None else (e.mean, e.mean) for e in estimates]
    return np.abs(np.array(ends).T - np.array([e.mean for e in estimates]))


def _frame(estimates: Sequence[Estimate], levels: Sequence[float]) -> tuple[float, float]:
    """An axis that shows every mean and level; an interval of few seeds may run off it rather than flatten them."""
    means = [e.mean for e in estimates]
    low, high = min([*means, *levels]), max([*means, *levels])
    span = (high - low) or abs(high) or 1.0
    ends = [end for e in estimates for end in (e.low, e.high) if end is not None]
    return (max(min([low, *ends]), low - span) - 0.12 * span, min(max([high, *ends]), high + span) + 0.18 * span)


def _strips(rows: Sequence[Row], store: Store) -> list[tuple[str, np.ndarray]]:
    """The same victims under every chain, as the attack with the lowest mean error rebuilt them, (H, W, C) in bytes.

    Rows travel without their pictures: chains whose files are not there are left out.
    """
    found: list[tuple[str, pictures.Shown]] = []
    for row in {row["chain"]: row for row in reversed(rows)}.values():
        names = [name for name in _attacks(row) if f"picture/{name}" in row]
        best = min(names, key=lambda name: row[f"privacy/{name}/mse"], default="")
        if best and (shown := pictures.read((store.root / row[f"picture/{best}"]).parent)):
            found.append((f"{row['chain']}\n{best} {row[f'privacy/{best}/mse']:.4f}", shown.at("fixed")))
    if not found:
        return []
    originals = found[-1][1].x
    same = [(label, shown.images) for label, shown in reversed(found) if np.array_equal(shown.x, originals)]
    return [(label, np.concatenate(list(pictures.tiles(images)), axis=1))
            for label, images in [("victims", originals), *same[:SHOWN]]]  # fmt: skip


def _pictures(figure: SubFigure, strips: Sequence[tuple[str, np.ndarray]]) -> None:
    grid = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    for axes, (label, strip) in zip(grid, strips, strict=True):
        axes.imshow(strip)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
