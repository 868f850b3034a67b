"""`splitpriv data`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from splitpriv.commands import arguments
from splitpriv.types import UserError


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    data = commands.add_parser("data", help="list, fetch or verify data sets")
    data.add_argument("action", choices=["list", "fetch", "verify"])
    data.add_argument("name", nargs="?", help="a data set, as in `dataset=NAME`")
    arguments.places(data)


def run(args: argparse.Namespace) -> int:
    """List the data sets, or fetch or verify one."""
    from splitpriv import config
    from splitpriv.targets import build

    names = sorted(p.stem for p in (config.CONF / "dataset").glob("*.yaml"))
    overrides = [o for o in [args.name, *args.overrides] if o and "=" in o]
    name = args.name if args.name and "=" not in args.name else None
    if args.action == "list":
        for known in names:
            first = (config.CONF / "dataset" / f"{known}.yaml").read_text().splitlines()[0]
            print(f"{known:14} {first.lstrip('# ')}")
        return 0
    if name is None:
        raise UserError(f"data {args.action}: name a data set; there are {', '.join(names)}")
    cfg = config.compose([f"dataset={name}", *overrides])
    dataset = build(cfg["dataset"], "dataset")()
    root = Path(cfg["paths"]["data"])
    if args.action == "fetch":
        dataset.fetch(root)
    print(f"{name}: {dataset.verify(root)}")
    return 0
