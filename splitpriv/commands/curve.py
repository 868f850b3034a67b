"""`splitpriv curve`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from splitpriv.commands import arguments
from splitpriv.types import UserError


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    curve = commands.add_parser("curve", help="draw privacy against utility, with reconstructions, from finished runs")
    arguments.select(curve)
    curve.add_argument("--reference", nargs=2, type=float, metavar=("X", "Y"), help="reference of the hypervolume")
    curve.add_argument("--out", type=Path, help="PNG, SVG, PDF or JSON file (default: <paths.outputs>/curve.png)")
    arguments.axes(curve)
    arguments.places(curve)


def run(args: argparse.Namespace) -> int:
    """Draw the privacy-utility picture of finished runs."""
    from splitpriv.report import curves, frontier

    selection = arguments.chosen(args)
    rows, store = selection.some("curve"), selection.store
    out = args.out or store.root / "curve.png"
    if out.suffix not in (".png", ".svg", ".pdf", ".json"):
        raise UserError(f"--out {out}: pictures are .png, .svg or .pdf, numbers .json; change its ending")
    reference = tuple(args.reference) if args.reference else None
    numbers = curves.draw(
        rows, store, out, metric=args.metric, x=args.x, y=args.y, by=args.by, reference=reference
    )  # fmt: skip
    frontier.print_frontier(numbers)
    print(f"picture: {out}")
    return 0
