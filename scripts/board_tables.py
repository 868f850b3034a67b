"""Put the tables of docs/board.md anew, from results/board/site.json; attacks nothing.

python scripts/board_tables.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fill_board
from matrix_tables import ROOT, grid, weave

PAGE = ROOT / "docs/board.md"
SITE = ROOT / "results/board/site.json"
SUITE = "autoinvert-2 quick"

Number = Mapping[str, Any] | None  # mean, n, and the ends of its interval, or of a least value


def world(path: Path = SITE) -> Mapping[str, Any]:
    """The board of the shipped images under the bounded suite."""
    boards: Sequence[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["boards"]
    return next(b for b in boards if (b["world"]["dataset"], b["world"]["suite"]) == ("fashion_tint", SUITE))


def in_order(board: Mapping[str, Any]) -> list[str]:
    """Its chains, those first that the board is filled with first."""
    first = {name: i for i, name in enumerate(fill_board.FIRST)}
    return sorted(board["chains"], key=lambda chain: first.get(chain.partition("+")[0], len(first)))


def written(number: Number, digits: int, times: float = 1) -> str:
    """A mean with its interval, where there is one; a dash where nothing was measured."""
    if number is None or number["mean"] is None:
        return "–"
    values = [number["mean"], *(v for v in (number["low"], number["high"]) if v is not None)]
    mean, *ends = (f"{round(times * v, digits) + 0:.{digits}f}" for v in values)
    return ("≥ " if number.get("at_least") else "") + mean + (f" [{', '.join(ends)}]" if ends else "")


def settings(board: Mapping[str, Any]) -> str:
    """Every setting of every chain, the weakest first as far as its numbers tell."""
    lines = []
    for chain in in_order(board):
        own = [line for line in board["lines"] if line["chain"] == chain]
        for line in sorted(own, key=lambda line: line["loss"]["mean"]):
            at = ", ".join(f"{key.partition('.')[2]} {value}" for key, value in line["strength"].items())
            once = line["attacked"]["1"]
            lines.append([chain, at, str(len(line["seeds"])), written(line["loss"], 1, 100), written(once["mse"], 4),
                          written(once["ssim"], 3)])  # fmt: skip
    return grid(("chain", "setting", "n", "loss, points", "suite MSE", "SSIM"), lines)


def matched(board: Mapping[str, Any]) -> str:
    """What the curve of each chain leaves the suite at a loss of utility, of chains with more than one seed."""
    told = {chain: [board["chains"][chain]["bought"][str(loss)] for loss in board["losses"]]
            for chain in in_order(board)}  # fmt: skip
    lines = [[chain, *(written(number, 4) for number in numbers)]
             for chain, numbers in told.items() if any(n and (n["n"] or 0) > 1 for n in numbers)]  # fmt: skip
    return grid(("chain", *(f"at {100 * float(loss):g}" for loss in board["losses"])), lines)


def woven(page: str) -> str:
    """The page with both tables as the committed site has them."""
    board = world()
    return weave(page, {"settings": settings(board), "matched": matched(board)})


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    PAGE.write_text(woven(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
