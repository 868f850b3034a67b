"""`splitpriv track`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from splitpriv.commands import arguments
from splitpriv.types import UserError


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    track = commands.add_parser("track", help="hand finished runs, or a report of them, to trackers")
    arguments.select(track)
    track.add_argument("--report", action="store_true", help="one W&B run that compares them: scatter, picture, table")
    arguments.axes(track)
    arguments.places(track, "track=", "track.")


def run(args: argparse.Namespace) -> int:
    """Record finished runs with the trackers of `track=[...]`, or compare them in one W&B run."""
    import tempfile

    from splitpriv import track
    from splitpriv.report import curves
    from splitpriv.run import prepare
    from splitpriv.targets import build

    overrides = list(args.overrides)
    cfg = prepare.from_overrides(overrides).cfg
    if not cfg["track"]:
        raise UserError("track: lists no tracker; add for example 'track=[wandb]'")
    args.overrides = [word for word in overrides if word.startswith(("paths.", "plugins="))]
    selection = arguments.chosen(args)
    rows, store = selection.some("track"), selection.store
    if args.report:
        node = cfg["track"].get("wandb")
        if node is None:
            raise UserError("track: a report is a W&B run; add 'track=[wandb]'")
        home = store.root / "track" / "wandb"
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            picture = Path(scratch) / "curve.png"
            drawn = curves.draw(rows, store, picture, metric=args.metric, x=args.x, y=args.y, by=args.by)
            print(f"report: {build(node, 'track.wandb')().report(rows, home, picture, drawn, args.by)}")
        return 0
    if (args.x, args.y, args.metric, args.by) != (None, None, "mse", "chain"):
        raise UserError("--x, --y, --metric, --by: belong to a report; add --report")
    said = [line for row in rows for line in track.record(row, cfg["track"], store)]
    if said:
        raise UserError(*said)
    return 0
