"""How near do attacks come to the best there can be? Where that is known: MMSE / MSE, 1 being the best.

    python scripts/calibrate.py 'attack=[decoder,pnp]' optim.epochs=2      # any overrides; --worlds, --rows out.md

Gaussian images behind a linear edge have their MMSE in closed form, images from a finite library as an exact sum behind
any edge. Three noise levels each; results lie in the store like all others, so a repetition costs nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from splitpriv.run.pipeline import execute
from splitpriv.run.prepare import from_overrides
from splitpriv.store import Store
from splitpriv.types import UserError

LIBRARY = ("dataset=library", "defense=[noise]", "protocol.attacked=512")
WORLDS: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "gaussian": (("dataset=gaussian", "backbone=linear", "split.at=linear", "defense=[noise]"), (0.03, 0.1, 0.3)),
    "library, tiny": ((*LIBRARY, "backbone=tiny", "split=middle"), (2.0, 4.0, 8.0)),
    "library, vgg11": ((*LIBRARY, "backbone=vgg11", "split=cem"), (0.5, 1.0, 2.0)),
}


def lines(world: str, overrides: list[str]) -> list[str]:
    """A line for every noise level and attack of one world."""
    settings, sigmas = WORLDS[world]
    out = []
    for sigma in sigmas:
        run = from_overrides([*settings, *overrides, f"defense.noise.sigma={sigma}"])
        row = execute(run, Store(run.cfg["paths"]["outputs"]))
        least = next(row[f"bound/{name}"] for name in ("gaussian_mmse", "library_mmse") if f"bound/{name}" in row)
        floor = row["floor/mean_image/mse"]
        for name in run.cfg["attack"]:
            mse = row[f"privacy/{name}/mse"]
            out.append(f"| {world} | {sigma:g} | {name} | {least:.5f} | {mse:.5f} | {least / mse:.3f} | {floor:.5f} |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", default=",".join(WORLDS).replace(", ", " "), help="as 'gaussian,library tiny'")
    parser.add_argument("--rows", type=Path, help="file that the table is written to, besides being printed")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of every run")
    args = parser.parse_args()
    names = {name.replace(", ", " "): name for name in WORLDS}
    table = ["| world | noise | attack | MMSE | MSE | MMSE / MSE | mean image |", "|---|---|---|---|---|---|---|"]
    print(*table, sep="\n")
    try:
        for word in args.worlds.split(","):
            if word not in names:
                raise UserError(f"--worlds {word}: there are {', '.join(names)}")
            for line in lines(names[word], args.overrides):
                table.append(line)
                print(line, flush=True)
    except UserError as error:
        sys.exit("\n".join(f"calibrate: {problem}" for problem in error.problems))
    if args.rows:
        args.rows.write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
