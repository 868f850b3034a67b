"""Privacy against utility, drawn from rows and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from splitpriv.resume import load_tensors
from splitpriv.store import Row, Store

# Okabe and Ito's palette: told apart by colour-blind readers and in print; markers repeat the distinction.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
MARKERS = "osD^vPX*"
LABELS = {"mse": "MSE", "psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS"}
RISES = {"mse", "lpips"}  # where more is more private
SHOWN = 8  # chains whose reconstructions fit beside the plot


def draw(rows: Sequence[Row], store: Store, out: Path, *, metric: str) -> None:
    """Write one picture: accuracy against the worst-case `metric` of every row, and what the best attacker saw."""
    rows = [row for row in rows if f"privacy/worst/{metric}" in row]
    chains = list(dict.fromkeys(row["chain"] for row in rows))
    strips = [next(row for row in rows if row["chain"] == chain) for chain in chains[:SHOWN]]
    figure = plt.figure(figsize=(13, max(4.5, 1 + 0.85 * (len(strips) + 1))), layout="constrained")
    halves = figure.add_gridspec(1, 2, width_ratios=[1, 1.15])
    _scatter(figure.add_subfigure(halves[0]).subplots(), rows, chains, metric)
    _strips(figure.add_subfigure(halves[1]), strips, store)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)
    plt.close(figure)


def _scatter(axes: Axes, rows: Sequence[Row], chains: Sequence[str], metric: str) -> None:
    for i, chain in enumerate(chains):
        points = [(row["utility/accuracy"], row[f"privacy/worst/{metric}"]) for row in rows if row["chain"] == chain]
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=70, color=COLOURS[i % 8], marker=MARKERS[i % 8], edgecolor="black", linewidth=0.5)
        axes.annotate(chain, (float(np.mean(x)), float(np.mean(y))), xytext=(7, 5), textcoords="offset points")
    floor = float(np.mean([row[f"floor/mean_image/{metric}"] for row in rows]))
    axes.axhline(floor, color="grey", linestyle="--", linewidth=1)
    axes.annotate("mean image: nothing learnt from z", (0.02, floor), xycoords=("axes fraction", "data"),
                  xytext=(0, 4), textcoords="offset points", color="grey", fontsize=9)  # fmt: skip
    axes.margins(0.18)
    axes.set_xlabel("accuracy")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value * 100 % 1 < 1e-6 else f"{value:.1%}")
    way = "higher" if metric in RISES else "lower"
    axes.set_ylabel(f"{LABELS[metric]} of the best attack, per image ({way} is more private)")
    attacks = {key.split("/")[1] for row in rows for key in row if key.startswith("picture/")}
    axes.set_title(
        f"{', '.join(sorted({row['dataset'] for row in rows}))}: {' and '.join(sorted(attacks))}", fontsize=10
    )
    axes.spines[["top", "right"]].set_visible(False)


def _strips(figure: SubFigure, rows: Sequence[Row], store: Store) -> None:
    """The same victims under every chain, as the attack with the lowest mean error rebuilt them."""
    found = []
    for row in rows:
        names = [key.split("/")[1] for key in row if key.startswith("picture/")]
        best = min(names, key=lambda name: row[f"privacy/{name}/mse"])
        shown = load_tensors((store.root / row[f"picture/{best}"]).with_name("shown.safetensors"))
        found.append((f"{row['chain']}\n{best} {row[f'privacy/{best}/mse']:.4f}", shown))
    originals = found[0][1]["x"]
    same = [(label, shown["images"]) for label, shown in found if shown["x"].equal(originals)]
    lines = [("victims", originals), *same]
    grid = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
    for axes, (label, images) in zip(grid, lines, strict=True):
        strip = np.concatenate(list(images.permute(0, 2, 3, 1).numpy()), axis=1)
        axes.imshow(strip if strip.shape[2] == 3 else strip[..., 0], cmap="gray", vmin=0, vmax=255)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
