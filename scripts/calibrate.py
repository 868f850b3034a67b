"""How near do attacks come to the best there can be? Where that is known: MMSE / MSE, 1 being the best.

    python scripts/calibrate.py 'attack=[decoder,pnp]' optim.epochs=2      # any overrides; --worlds, --rows out.json

Gaussian images behind a linear edge have their MMSE in closed form, images from a finite library as an exact sum behind
any edge, however little it was trained. Three noise levels each; results lie in the store like all others, so a
repetition costs nothing. `results/matrix/calibration.json` is `--rows results/matrix/calibration.json` of
'attack=[autoinvert_quick]'.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from splitpriv.data.library import Library
from splitpriv.measure.audit import first_noise
from splitpriv.run.context import Run
from splitpriv.run.pipeline import execute
from splitpriv.run.prepare import Prepared, from_overrides
from splitpriv.stats import library
from splitpriv.store import Store, write_atomic
from splitpriv.store.state import load_tensors
from splitpriv.types import UserError

LIBRARY = ("dataset=library", "defense=[noise]", "protocol.limit.train=512", "optim.epochs=1")
WORLDS: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "gaussian": (("dataset=gaussian", "backbone=linear", "split.at=linear", "defense=[noise]"), (0.03, 0.1, 0.3)),
    "library, tiny": ((*LIBRARY, "backbone=tiny", "split=middle", "protocol.attacked=512"), (1.0, 1.5, 3.0)),
    "library, vgg11": ((*LIBRARY, "backbone=vgg11", "split=cem", "protocol.attacked=200"), (0.25, 0.5, 1.0)),
}


def records(world: str, overrides: list[str]) -> Iterator[dict[str, Any]]:
    """What is committed of every noise level and attack of one world."""
    settings, sigmas = WORLDS[world]
    for sigma in sigmas:
        run = from_overrides([*settings, *overrides, f"defense.noise.sigma={sigma}"])
        store = Store(run.cfg["paths"]["outputs"])
        row = execute(run, store)
        least = next(row[f"bound/{name}"] for name in ("gaussian_mmse", "library_mmse") if f"bound/{name}" in row)
        for name in run.cfg["attack"]:
            errors = load_tensors(store.root / row[f"scores/{name}"])["mse"].double()
            members = {k.split("/")[1]: v for k, v in row.items() if k.startswith("suite/") and k.endswith("/mse")}
            yield {"world": world, "noise": sigma, "attack": name, "least": least, "mse": row[f"privacy/{name}/mse"],
                   "error": float(errors.std() / len(errors) ** 0.5), "victims": len(errors),
                   "exact": exact(run, store),
                   "floor": row["floor/mean_image/mse"], "answer": row.get(f"attack/{name}/answer"),
                   "suite": row.get("suite"), "members": members, "row": row["key"],
                   "cpu_s": store.made("attack", run.plan.attacks[name]).get("cpu_s")}  # fmt: skip


@torch.no_grad()
def exact(prepared: Prepared, store: Store) -> float | None:
    """MSE of the exact conditional mean on the same releases of the same victims, where images come from a library."""
    run = Run(prepared, store, prepared.parts.runtime.start())
    dataset, channel = run.parts.dataset, first_noise(run.model)
    if not isinstance(dataset, Library) or channel is None:
        return None
    shelf = dataset.shelf(Path(run.cfg["paths"]["data"])).to(run.device).x(slice(None))
    best = library.reconstruct(shelf, channel[0](shelf), run.releases(0), channel[1])
    return float((best - run.victims.x(slice(None))).square().mean())


def line(told: dict[str, Any]) -> str:
    """The same as a line of the table that is printed."""
    numbers = f"{told['least']:.5f}", f"{told['mse']:.5f} ± {told['error']:.5f}", f"{told['least'] / told['mse']:.3f}"
    shown = [told["world"], f"{told['noise']:g}", told["attack"], *numbers, f"{told['floor']:.5f}"]
    return f"| {' | '.join(shown)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", default=",".join(WORLDS).replace(", ", " "), help="as 'gaussian,library tiny'")
    parser.add_argument(
        "--rows", type=Path, help="JSON file in which the results take the place of those of the same name"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of every run")
    args = parser.parse_args()
    names = {name.replace(", ", " "): name for name in WORLDS}
    table = ["| world | noise | attack | MMSE | MSE | MMSE / MSE | mean image |", "|---|---|---|---|---|---|---|"]
    print(*table, sep="\n")
    try:
        for word in args.worlds.split(","):
            if word not in names:
                raise UserError(f"--worlds {word}: there are {', '.join(names)}")
            for told in records(names[word], args.overrides):
                print(line(told), flush=True)
                if args.rows:
                    keep(args.rows, told)
    except UserError as error:
        sys.exit("\n".join(f"calibrate: {problem}" for problem in error.problems))


def keep(path: Path, told: dict[str, Any]) -> None:
    """Put one result into the file, in the order of the worlds."""

    def place(r: dict[str, Any]) -> tuple[Any, ...]:
        return list(WORLDS).index(r["world"]), r["attack"], r["noise"]

    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [r for r in kept if place(r) != place(told)]
    write_atomic(path, json.dumps(sorted([*kept, told], key=place), indent=1) + "\n")


if __name__ == "__main__":
    main()
