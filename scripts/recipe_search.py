"""What a recipe makes of a network in so many CPU minutes: one training per variant, nothing attacked.

    python scripts/recipe_search.py --rows results/recipe/rows.json            # all that is missing there
    python scripts/recipe_search.py --rows rows.json --only 'Muon .05, batch 256' --seed 1
    python scripts/recipe_search.py --rows rows.json --table --picture curve.png # what is there; trains nothing

A variant that has its row is left out, so that a call goes on where another stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from splitpriv.run.context import Run
from splitpriv.run.prepare import from_overrides
from splitpriv.store import Store, write_atomic
from splitpriv.types import UserError

SHORT = ("protocol.limit={train: 6000, val: 1000, aux: 64, victims: 64}", "optim.epochs=6")
VGG = ("backbone=vgg11", "split=cem", "backbone.dropout=0")
RESNET = ("backbone=resnet20", "split.at=shallow", "split.bottleneck=null", "defense=[none]")
SGD = ("optim=sgd", "optim.optimizer.lr=0.1", "optim.rise=0.15", "optim.schedule=null", "task.smoothing=0.2")
FAST = ("optim=fast", "task.smoothing=0.2")
WHOLE = ("protocol=strict", "optim.epochs=6")
VARIANTS: dict[str, tuple[str, ...]] = {
    "SGD .1, batch 128": (*SHORT, *VGG, *SGD),
    "Muon .1, batch 128": (*SHORT, *VGG, *FAST, "optim.batch=128", "optim.optimizer.lr=0.1"),
    "Muon .1, batch 256": (*SHORT, *VGG, *FAST, "optim.optimizer.lr=0.1"),
    "Muon .24, batch 128": (*SHORT, *VGG, *FAST, "optim.batch=128", "optim.optimizer.lr=0.24"),
    "Muon .05, batch 128": (*SHORT, *VGG, *FAST, "optim.batch=128"),
    "Muon .05, batch 256": (*SHORT, *VGG, *FAST),
    "Muon .05, batch 512": (*SHORT, *VGG, *FAST, "optim.batch=512"),
    "Muon .05, batch 256, five iterations": (*SHORT, *VGG, *FAST, "optim.optimizer.iterations=5"),
    "Muon .05, batch 256, no smoothing": (*SHORT, *VGG, *FAST, "task.smoothing=0"),
    "Muon .05, batch 256, rest .2": (*SHORT, *VGG, *FAST, "optim.optimizer.rest_lr=0.2"),
    "resnet20, SGD .1, batch 128": (*SHORT, *RESNET, *SGD),
    "resnet20, Muon .05, batch 256": (*SHORT, *RESNET, *FAST),
    "all images: fast": (*WHOLE, *VGG, *FAST),
    "all images: SGD .1, batch 128": (*WHOLE, *VGG, *SGD),
    "all images: fast, resnet20": (*WHOLE, *RESNET, *FAST),
}
BASE = ("dataset=cifar10", "defense=[noise]", "attack=[decoder]", "runtime.precision=bf16", "runtime.device=cpu")


def trained(name: str, words: tuple[str, ...], seed: int) -> dict[str, Any]:
    """The row of one variant: its accuracy on val after every epoch, and the CPU seconds of them all."""
    prepared = from_overrides([*BASE, *words, f"seed={seed}"])
    optim = prepared.cfg["optim"]
    with tempfile.TemporaryDirectory(prefix="recipe_") as folder:
        run = Run(prepared, Store(folder), prepared.parts.runtime.start())
        images = len(run.splits["train"])
        start = time.process_time()
        _ = run.model
        seconds = time.process_time() - start
        curve = json.loads((Path(folder) / "fit" / prepared.plan.fits[-1] / "curve.json").read_text(encoding="utf-8"))
    return {"name": name, "seed": seed, "words": list(words), "images": images, "epochs": optim["epochs"],
            "batch": optim["batch"], "cpu_s": round(seconds, 1),
            "accuracy": [round(note["accuracy/val"], 4) for note in curve]}  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """The same as a line of a table."""
    rate = 1000 * row["cpu_s"] / row["images"] / row["epochs"]
    return (f"| {row['name']} | {row['seed']} | {row['epochs']} x {row['images']:,} | {100 * row['accuracy'][-1]:.1f} "
            f"| {row['cpu_s']:.0f} | {rate:.1f} |")  # fmt: skip


def picture(rows: list[dict[str, Any]], out: Path) -> None:
    """Accuracy after every epoch over the CPU minutes until then."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    for i, row in enumerate(rows):
        each = row["cpu_s"] / 60 / len(row["accuracy"])
        minutes = [each * (n + 1) for n in range(len(row["accuracy"]))]
        axes.plot(minutes, [100 * a for a in row["accuracy"]], marker="osv^D<>p"[i % 8], markersize=4,
                  label=f"{row['name']} ({row['epochs']} x {row['images']:,})")  # fmt: skip
    axes.set(xlabel="CPU minutes, one thread", ylabel="accuracy on val, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="JSON file of what was trained")
    parser.add_argument("--only", action="append", help="a variant by its name; several times for several")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw them")
    args = parser.parse_args()
    rows = json.loads(args.rows.read_text(encoding="utf-8")) if args.rows.exists() else []
    wrong = [name for name in args.only or () if name not in VARIANTS]
    if wrong:
        sys.exit(f"recipe_search: --only {wrong[0]}: there are {'; '.join(VARIANTS)}")
    print(
        "| recipe | seed | training | accuracy on val % | CPU s | ms an image |", "|---|---|---|---|---|---|", sep="\n"
    )
    for row in rows if args.table else ():
        print(line(row))
    if args.picture:
        picture(rows, args.picture)
    for name in () if args.table else args.only or VARIANTS:
        if any(row["name"] == name and row["seed"] == args.seed for row in rows):
            continue
        try:
            row = trained(name, VARIANTS[name], args.seed)
        except UserError as error:
            sys.exit("\n".join(f"recipe_search: {problem}" for problem in error.problems))
        rows.append(row)
        write_atomic(args.rows, "[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
        print(line(row), flush=True)


if __name__ == "__main__":
    main()
