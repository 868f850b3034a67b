"""Privacy against utility, drawn from rows and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from splitpriv import metrics, plain
from splitpriv.measure import pictures
from splitpriv.report.frontier import Point, compare
from splitpriv.report.terminal import attacks_of
from splitpriv.stats.interval import Estimate
from splitpriv.store import Row, Store, write_atomic

# Okabe and Ito's palette: told apart by colour-blind readers and in print; markers repeat the distinction.
# His yellow, too pale for a line, is Tol's wine. Seven markers on eight colours repeat after 56 groups.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#882255", "#000000")
MARKERS = "osD^vPX"
Strips = list[tuple[str, np.ndarray]]  # label, (H, W, C) in bytes
SHOWN = 8  # chains whose reconstructions fit beside the plot


def draw(rows: Sequence[Row], store: Store, out: Path, *, metric: str, x: str | None = None, y: str | None = None,
         by: str = "chain", reference: tuple[float, float] | None = None,
         marks: Mapping[str, str] | None = None) -> dict[str, Any]:  # fmt: skip
    """Write one picture (PNG, SVG or PDF by its ending, or the JSON of its numbers) and return those numbers.

    Every point is a setting, averaged over its target seeds, with intervals; the rest is `frontier.compare`'s. `marks`:
    what to write beside the points of some rows, by their keys.
    """
    kept, drawn, numbers = compare(rows, metric=metric, x=x, y=y, by=by, reference=reference)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".json":
        write_atomic(out, plain.dumps(numbers, indent=1) + "\n")
        return numbers
    with plt.rc_context({"text.parse_math": False}):  # the dollars of a name are dollars
        _picture(out, kept, drawn, {**numbers, "marks": marks or {}}, _strips(kept, store))
    return numbers


def _picture(out: Path, rows: Sequence[Row], drawn: Sequence[Point], numbers: dict[str, Any], strips: Strips) -> None:
    width, height = (13, max(4.5, 1 + 0.85 * len(strips))) if strips else (7, 4.8)
    figure = plt.figure(figsize=(width, height), layout="constrained")
    halves = figure.add_gridspec(1, 2 if strips else 1, width_ratios=[1, 1.15] if strips else [1])
    _scatter(figure.add_subfigure(halves[0]).subplots(), drawn, numbers, rows)
    if strips:
        _pictures(figure.add_subfigure(halves[1]), strips)
    figure.savefig(out, dpi=130)
    plt.close(figure)


def _scatter(axes: Axes, drawn: Sequence[Point], numbers: dict[str, Any], rows: Sequence[Row]) -> None:
    groups = list(dict.fromkeys(p.group for p in drawn))
    for i, group in enumerate(groups):
        mine = [p for p in drawn if p.group == group]
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
        faces = [colour if p.is_sound else "white" for p in mine]
        edges = ["black" if p.is_sound else colour for p in mine]
        axes.scatter(x, y, s=60, c=faces, marker=marker, edgecolors=edges, linewidth=0.8, zorder=3)
        axes.annotate(plain.line(group), (x[-1], y[-1]), xytext=(7, 5), textcoords="offset points")
    front = [drawn[i] for i in numbers["pareto"]]
    axes.plot([p.x.mean for p in front], [p.y.mean for p in front], color="grey", linestyle=":", linewidth=1.2,
              drawstyle="steps-pre", zorder=1)  # fmt: skip
    for (label, level), style in zip(numbers["levels"].items(), cycle(("--", "-.", ":"))):  # endless on purpose
        axes.axhline(level, color="grey", linestyle=style, linewidth=1)
        axes.annotate(label, (0.02, level), xycoords=("axes fraction", "data"), xytext=(0, 4),
                      textcoords="offset points", color="grey", fontsize=9)  # fmt: skip
    marks = numbers.get("marks", {})
    for p in drawn:
        for text in {marks[row["key"]] for row in p.rows if row["key"] in marks}:
            axes.scatter([p.x.mean], [p.y.mean], s=220, facecolors="none", edgecolors="black", linewidth=1.2, zorder=4)
            axes.annotate(plain.line(text), (p.x.mean, p.y.mean), xytext=(-10, -18), textcoords="offset points",
                          ha="right", fontsize=9)  # fmt: skip
    axes.set_xlim(_frame([p.x for p in drawn], []))
    axes.set_ylim(_frame([p.y for p in drawn], list(numbers["levels"].values())))
    axes.set_xlabel(_label(numbers["x"]))
    worth = metrics.find(numbers["x"])
    if worth and worth.digits == "%":
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}".replace(".0%", "%"))
    way = "higher" if numbers["higher_is_more_private"] else "lower"
    what = "of the best attack, per image" if "/worst/" in numbers["y"] else f"({numbers['y']})"
    axes.set_ylabel(f"{_label(numbers['y'])} {what} ({way} is more private)")
    attacks = {name for row in rows for name in attacks_of(row)}
    n = sorted({p.y.n for p in drawn})
    seeds = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]} to {n[-1]}"
    hollow = "" if all(p.is_sound for p in drawn) else "; hollow: doubtful"
    names = ", ".join(sorted({str(row.get("dataset", "")) for row in rows}))
    title = f"{names}: {' and '.join(sorted(attacks))}; {seeds}; dotted: Pareto front{hollow}"
    axes.set_title(plain.line(title), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _label(key: str) -> str:
    metric = metrics.find(key)
    if metric is None:
        return plain.line(key.rpartition("/")[2].replace("_", " "))
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


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


def _strips(rows: Sequence[Row], store: Store) -> Strips:
    """The same victims under every chain, as the attack with the lowest mean error rebuilt them, (H, W, C) in bytes.

    Rows travel without their pictures: chains whose files are not there are left out.
    """
    held: list[tuple[str, pictures.Shown]] = []
    for row in {row["chain"]: row for row in reversed(rows)}.values():
        names = [n for n in attacks_of(row) if row.get(f"picture/{n}") and row.get(f"privacy/{n}/mse") is not None]
        best = min(names, key=lambda name: row[f"privacy/{name}/mse"], default="")
        if best and (shown := pictures.read((store.root / row[f"picture/{best}"]).parent)):
            held.append((f"{row['chain']}\n{best} {row[f'privacy/{best}/mse']:.4f}", shown.at("fixed")))
    if not held:
        return []
    originals = held[-1][1].x
    same = [(label, shown.images) for label, shown in reversed(held) if np.array_equal(shown.x, originals)]
    return [(label, np.concatenate(list(pictures.tiles(images)), axis=1))
            for label, images in [("victims", originals), *same[:SHOWN]]]  # fmt: skip


def _pictures(figure: SubFigure, strips: Strips) -> None:
    grid = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    for axes, (label, strip) in zip(grid, strips, strict=True):
        axes.imshow(strip)
        axes.set_ylabel(plain.inert(label), rotation=0, ha="right", va="center", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
