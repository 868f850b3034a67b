"""Does the recipe change the question? CEM's gain on a small network, under several schedules and lengths of training.

    python scripts/recipe_question.py --store outputs/question                 # all that is missing there, in turn
    python scripts/recipe_question.py --store outputs/question --only fast --seeds 0,1
    python scripts/recipe_question.py --table                                  # of what is there; trains nothing
    python scripts/recipe_question.py --picture results/recipe/question docs/recipe_question.png

Every pair is a network with noise alone and one with CEM at its authors' ρ, under one schedule and seed. `push` is the
sum of λ times rate over all steps: how far CEM can move the edge under an optimiser that follows gradients. `spread` is
what CEM makes small: the variance of z about the five centroids of its class, in units of the noise's σ².
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch

from splitpriv.run.context import Run
from splitpriv.run.pipeline import execute
from splitpriv.run.prepare import from_overrides
from splitpriv.stats.interval import interval
from splitpriv.stats.kmeans import by_class, lloyd, seed_centres
from splitpriv.store import Row, Store, write_atomic
from splitpriv.types import UserError

SIGMA = 0.025
BASE = (
    "dataset=fashion_tint", "backbone=tiny", "split=bottleneck", "split.bottleneck.activation=sigmoid",
    "attack=[autoinvert_quick]", "protocol.limit={train: 3000, val: 256, aux: 1000, victims: 1000}",
    "protocol.attacked=128", f"defense.noise.sigma={SIGMA}", "measure.draws=2", "runtime.device=cpu",
)  # fmt: skip
CEM = ("defense=[cem,noise]", "defense.cem.boost=authors")
RISEN = ("defense.cem.rate_threshold=0.0125", "defense.cem.rate_reference=0.0062")  # as scale fast has it
FAST = ("optim=fast", "optim.batch=128", "task.smoothing=0.2")
SGD = ("optim=sgd", "optim.rise=0.15", "optim.schedule=null", "task.smoothing=0.2")


def _paper(times: float) -> tuple[str, ...]:
    """The authors' schedule, all its epochs times this."""
    stones = ",".join(str(round(times * epoch)) for epoch in (60, 120, 180, 210))
    return "optim=cem", f"optim.epochs={round(240 * times)}", f"optim.schedule.milestones=[{stones}]"


VARIANTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # words of both networks, and of CEM's alone
    "the paper's, 40 epochs": (_paper(1 / 6), ()),
    "the paper's, 40 epochs, λ 8 times": (_paper(1 / 6), ("defense.cem.weight=128",)),
    "the paper's, 40 epochs, λ 32 times": (_paper(1 / 6), ("defense.cem.weight=512",)),
    "the paper's, whole: 240 epochs": (_paper(1), ()),
    "fast": ((*FAST, "optim.epochs=16"), RISEN),
    "fast, an eighth of λ": ((*FAST, "optim.epochs=16"), (*RISEN, "defense.cem.weight=2")),
    "fast, SGD in place of Muon, 40 epochs": ((*SGD, "optim.epochs=40"), RISEN),
}


def pair(name: str, seed: int, store: Store) -> dict[str, Any]:
    """What a schedule makes of both networks of one seed."""
    both, cem = VARIANTS[name]
    out: dict[str, Any] = {"name": name, "seed": seed}
    for side, words in (("without", ("defense=[noise]",)), ("with", (*CEM, *cem))):
        start = time.process_time()
        prepared = from_overrides([*BASE, *both, *words, f"seed={seed}"])
        row = execute(prepared, store)
        run = Run(prepared, store, prepared.parts.runtime.start())
        out[side] = {"key": row["key"], "accuracy": row["utility/accuracy"], "mse": row["privacy/suite/mse"],
                     "worst": row["privacy/worst/mse"], "spread": _spread(run),
                     "cpu_s": round(time.process_time() - start)}  # fmt: skip
    steps = len(run.splits["train"]) // run.cfg["optim"]["batch"]
    defense = dict(run.model.defenses())["cem"]
    rates = [note["lr"] for note in row["trajectory"]][1:]  # in the first epoch there are no statistics
    out |= {"epochs": len(rates) + 1, "steps": steps * (len(rates) + 1),
            "push": steps * sum(rate * defense._weight(rate) for rate in rates)}  # fmt: skip
    return out


@torch.no_grad()
def _spread(run: Run) -> float:
    train = run.splits["train"]
    parts = [slice(i, i + 256) for i in range(0, len(train), 256)]
    table = by_class([(run.model.net.edge(train.x(p)), train.y[p]) for p in parts], 10, None)
    draw = torch.Generator().manual_seed(0)
    clusters = lloyd(table.points, table.mask, seed_centres(table.points, table.mask, 5, draw), 50)
    centre = clusters.centres.gather(1, clusters.member.argmax(2)[..., None].expand_as(table.points))
    spread = (table.points - centre).square().mean(2)
    v = (clusters.member * spread[..., None]).sum(1) / clusters.sizes.clamp(min=1)
    share = clusters.sizes / clusters.sizes.sum(1, keepdim=True)
    return float((share * v).sum(1).mean()) / SIGMA**2


def spreads(row: Row) -> list[float]:
    """The same after every epoch, as training saw it: by the penalty of the epoch, and λ at its last rate."""
    weight, slow, scaled = (row[f"defense.cem.{key}"] for key in ("weight", "rate_threshold", "rate_reference"))
    floor, out = row["defense.cem.floor"], []
    for note in row["trajectory"][1:]:
        times = weight * (1 if note["lr"] < slow else scaled / note["lr"])
        least = row["defense.cem.threshold"] * SIGMA**2 + floor
        out.append((math.exp(note["penalty/cem"] / times) * least - floor) / SIGMA**2)
    return out


def picture(folder: Path, out: Path) -> None:
    """The variance inside clusters over training, of every row with CEM in a folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    for row in map(json.loads, (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json")))):
        if row["chain"] == "cem+noise":
            ends = spreads(row)
            shares = [(i + 1) / len(ends) for i in range(len(ends))]
            how = f"{row['optim']}, {row['optim.epochs']} epochs, weight {row['defense.cem.weight']:g}"
            axes.plot(shares, ends, label=f"{how}, seed {row['seed']}")
    axes.set(xlabel="share of training", ylabel="variance of z inside clusters, σ²", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(out, dpi=110)


def line(pairs: list[dict[str, Any]]) -> str:
    """Seeds of one schedule as a line of a table: gains are percent of MSE, of one pair each."""

    def mean(side: str, what: str) -> float:
        return sum(p[side][what] for p in pairs) / len(pairs)

    gains = [100 * (p["with"]["mse"] / p["without"]["mse"] - 1) for p in pairs]
    told = interval(gains)
    half = f" ± {told.half:.0f}" if told.half is not None else ""
    return (f"| {pairs[0]['name']} | {len(pairs)} | {pairs[0]['steps']:,} | {pairs[0]['push']:.0f} "
            f"| {100 * mean('without', 'accuracy'):.1f} → {100 * mean('with', 'accuracy'):.1f} "
            f"| {mean('without', 'spread'):.2f} → {mean('with', 'spread'):.2f} "
            f"| {mean('without', 'mse'):.4f} → {mean('with', 'mse'):.4f} | {told.mean:+.0f}{half} % |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=Path("results/recipe/question.json"), help="JSON file of pairs")
    parser.add_argument("--store", type=Path, default=Path("outputs/question"))
    parser.add_argument("--only", action="append", choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    parser.add_argument("--picture", nargs=2, type=Path, metavar=("ROWS", "PNG"), help="draw what training saw of them")
    args = parser.parse_args()
    if args.picture:
        picture(*args.picture)
        return
    rows = json.loads(args.rows.read_text(encoding="utf-8")) if args.rows.exists() else []
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for seed in () if args.table else seeds:
        for name in args.only or VARIANTS:
            if any(row["name"] == name and row["seed"] == seed for row in rows):
                continue
            try:
                rows.append(pair(name, seed, Store(args.store)))
            except UserError as error:
                sys.exit("\n".join(f"recipe_question: {problem}" for problem in error.problems))
            write_atomic(args.rows, "[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
            print(line(rows[-1:]), flush=True)
    print("| schedule | n | steps | push | accuracy, % | spread | MSE of the suite | gain |", "|" + "---|" * 8,
          sep="\n")  # fmt: skip
    for name in VARIANTS:
        if pairs := [row for row in rows if row["name"] == name]:
            print(line(pairs))


if __name__ == "__main__":
    main()
