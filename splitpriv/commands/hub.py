"""`splitpriv push` and `splitpriv pull`: a finished run as a folder in a model hub's layout, and back."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from splitpriv.commands import arguments


def add(commands: Any) -> None:
    """Add the commands to the subparsers of `splitpriv`."""
    push = commands.add_parser(
        "push", help="a run's weights, config, row and card into a folder, or to hf://owner/name"
    )
    push.add_argument("key", help="key of a finished run, or its first letters; `splitpriv rows` lists them")
    push.add_argument("to", metavar="DIR|hf://owner/name", help="an empty folder, or a private repository of the hub")
    push.add_argument("--pictures", action="store_true", help="show victims and reconstructions on the card")
    push.set_defaults(makes="to")
    arguments.places(push, *arguments.REOPENED)
    pull = commands.add_parser(
        "pull", help="a pushed run into a store of its own, where it must give its row's numbers"
    )
    pull.add_argument("source", metavar="DIR|hf://owner/name[@revision]", help="what `splitpriv push` made")
    pull.add_argument("--out", type=Path, help="store to make (default: <paths.outputs>/pulled/run-KEY)")
    pull.set_defaults(makes="out")
    arguments.places(pull, *arguments.REOPENED)


def push(args: argparse.Namespace) -> int:
    """Pack one run, and send it."""
    from splitpriv import config
    from splitpriv.report.terminal import judged
    from splitpriv.store import Store

    store = Store(config.compose([w for w in args.overrides if w.startswith("paths.")])["paths"]["outputs"])
    row = store.find(args.key)
    from splitpriv.deploy import faces, hub, pack
    from splitpriv.deploy.export import require_empty
    from splitpriv.run.context import Run
    from splitpriv.run.reopen import reopened

    to = hub.place(args.to, "push")
    if to.folder is not None:
        require_empty(to.folder, f"push {args.to}")
    prepared = reopened(row, store, args.overrides)
    run = Run(prepared, store, prepared.parts.runtime.start())
    whole = judged([row], store)[0]
    shown = faces.faces(whole, store, args.overrides) if args.pictures else []
    with tempfile.TemporaryDirectory() as scratch:
        packed = pack.pack(run, whole, to.folder or Path(scratch) / "packed", shown)
        where = to.folder or hub.upload(Path(scratch) / "packed", to)
    print(f"push: {where} ({len(packed)} files)")
    return 0


def pull(args: argparse.Namespace) -> int:
    """Fetch a run, evaluate it again, and keep it if it gives its numbers; 1 where it does not."""
    from splitpriv import config
    from splitpriv.deploy import hub, pack
    from splitpriv.deploy.export import require_empty

    source = hub.place(args.source, "pull")
    with tempfile.TemporaryDirectory() as scratch:
        folder = source.folder or hub.download(source, Path(scratch) / "fetched")
        key = pack.manifest(folder)["key"]
        root = config.compose([w for w in args.overrides if w.startswith("paths.")])["paths"]["outputs"]
        out = (args.out or Path(root) / "pulled" / f"run-{key}").expanduser().absolute()
        require_empty(out)
        row, differing, count = hub.pulled(folder, out, args.overrides)
    for name, (said, found) in differing.items():
        print(f"{name}: {found:.6g}, where its row says {said:.6g}")
    if differing or not count:
        print(f"pull: {len(differing)} of {count} numbers are not those of the row; the model is not kept")
        return 1
    print(f"pull: {out} ({row['chain']}, key {row['key']}): all {count} numbers that follow from weights and data are "
          "those of its row; attacks were not made again")  # fmt: skip
    return 0
