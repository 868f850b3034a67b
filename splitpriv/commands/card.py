"""`splitpriv card`: a finished run on one page for whoever must decide."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from splitpriv.commands import arguments


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    card = commands.add_parser(
        "card", help="a run on one page for whoever must decide: threat, risk, cost, what is left"
    )
    card.add_argument("key", help="key of a finished run, or its first letters; `splitpriv rows` lists them")
    card.add_argument("--out", type=Path, help=".html, .pdf or .md file (default: <paths.outputs>/cards/KEY.html)")
    card.add_argument("--no-pictures", action="store_true", help="show no victim and no reconstruction")
    arguments.places(card, *arguments.REOPENED)


def run(args: argparse.Namespace) -> int:
    """Write the card of one run."""
    from splitpriv import config
    from splitpriv.report.terminal import judged
    from splitpriv.store import Store

    store = Store(
        config.compose([w for w in args.overrides if w.startswith(("paths.", "plugins="))])["paths"]["outputs"]
    )
    row = judged([store.find(args.key)], store)[0]
    out = args.out or store.root / "cards" / f"{row['key']}.html"
    from splitpriv.deploy import card, faces, sheet

    sheet.require(out)
    shown = [] if args.no_pictures else faces.faces(row, store, args.overrides)
    for path in sheet.write(card.card(row, store, shown), out):
        print(f"card: {path}")
    return 0
