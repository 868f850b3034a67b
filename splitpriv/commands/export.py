"""`splitpriv export`: a finished run's model as files for a device and its server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from splitpriv.commands import arguments


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    export = commands.add_parser(
        "export", help="write a run's edge, with its chain, and cloud for a device and a server"
    )
    export.add_argument("key", help="key of a finished run, or its first letters; `splitpriv rows` lists them")
    export.add_argument("--format", required=True, help="torch (.pt2), onnx or executorch (.pte)")
    export.add_argument("--out", type=Path, help="folder to make (default: <paths.outputs>/export/KEY-FORMAT)")
    export.set_defaults(makes="out")
    arguments.places(export, *arguments.REOPENED)


def run(args: argparse.Namespace) -> int:
    """Export one run; what can be refused is, before torch is imported."""
    from splitpriv import config
    from splitpriv.deploy import formats
    from splitpriv.store import Store

    formats.require(args.format)
    store = Store(config.compose([w for w in args.overrides if w.startswith("paths.")])["paths"]["outputs"])
    row = store.find(args.key)
    out = (args.out or store.root / "export" / f"{row['key']}-{args.format}").expanduser().absolute()
    from splitpriv.deploy import export
    from splitpriv.run.context import Run
    from splitpriv.run.reopen import reopened

    export.require_empty(out)
    prepared = reopened(row, store, args.overrides)
    model = Run(prepared, store, prepared.parts.runtime.start()).model
    facts = export.export(model, args.format, out, {"key": row["key"]})
    print(f"export: {out}")
    for line in export.told(facts):
        print(line)
    if any(facts[half]["random"] for half in ("edge", "cloud")):
        print(f"noise: {facts['draws']}")
    return 0
