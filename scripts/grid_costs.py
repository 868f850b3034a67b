"""What every strength of a defence's grid costs the task: a grid should go from about 0 to 10 points of loss.

    python scripts/grid_costs.py                    # makes what results/board/costs.json lacks; --chains chooses
    python scripts/grid_costs.py --table            # prints them, in points lost

Target and seed are the board's, so that its rows find these fits in the same store; the attack is one of seconds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import fill_board

from splitpriv import config
from splitpriv.run.pipeline import execute
from splitpriv.run.prepare import from_overrides
from splitpriv.store import Store, write_atomic
from splitpriv.types import UserError

PATH = fill_board.ROWS / "costs.json"
WORLD = fill_board.WORLDS["fashion_tint"]
ORDER = (4, 2, 0, 3, 1)  # the ends tell first whether a grid spans what it should


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the table, and make nothing")
    parser.add_argument("--chains", nargs="+", metavar="DEFENCE", help="only these, by the name of their option")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, default=Path("outputs"), help="default: outputs")
    args = parser.parse_args()
    known: dict[str, float] = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    if args.table:
        print("\n".join(table(known)))
        return
    chains = {name: fill_board.strengths(WORLD, name, words) for name, words in fill_board.chains(WORLD).items()
              if not args.chains or name in args.chains}  # fmt: skip
    for place in ORDER:
        for words in (at[place] for at in chains.values() if place in at):
            told = " ".join([*words, f"seed={args.seed}"])
            if told in known:
                continue
            try:
                known[told] = accuracy([*WORLD.base, *words, f"seed={args.seed}"], Store(args.store))
            except UserError as error:
                print(f"left out {told}: {error.problems[0]}", flush=True)
                continue
            print(f"{told}: {known[told]:.4f}", flush=True)
            # another may have written meanwhile
            now = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
            write_atomic(PATH, json.dumps(now | {told: known[told]}, indent=1, sort_keys=True) + "\n")


def accuracy(words: list[str], store: Store) -> float:
    """Of the deployed chain, on all test images."""
    asked = [*words, "attack=[gallery]", f"paths.outputs={store.root}", "runtime.threads=1"]
    return float(execute(from_overrides(asked), store)["utility/accuracy"])


def table(known: dict[str, float]) -> list[str]:
    """Points lost against no defence with the same seed, the weakest strength first."""
    bare = known["defense=[none] seed=0"]
    lines = ["| defence | strengths | points lost |", "| --- | --- | --- |"]
    for name, words in fill_board.chains(WORLD).items():
        grids = config.grid(name)
        if grids:
            at = fill_board.strengths(WORLD, name, words)
            found = [known.get(" ".join([*told, "seed=0"])) for told in at.values()]
            lost = ", ".join("–" if value is None else f"{100 * (bare - value):.1f}" for value in found)
            values = "; ".join(f"`{key.split('.', 2)[2]}` {', '.join(map(str, grid))}" for key, grid in grids.items())
            lines.append(f"| {name} | {values} | {lost} |")
    return lines


if __name__ == "__main__":
    main()
