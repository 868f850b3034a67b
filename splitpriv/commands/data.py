"""`splitpriv data`: list data sets, fetch or verify one, or describe what is read of one's own images."""

from __future__ import annotations

import argparse
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv.data.reading import Reading, shown
from splitpriv.types import UserError, blame

if TYPE_CHECKING:
    from splitpriv.data.base import Dataset

ACTIONS = ("list", "fetch", "verify", "describe")


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    parser = commands.add_parser("data", help="list, fetch, verify or describe data sets")
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("name", nargs="?", help="a data set, as in `dataset=NAME`; describe: also a folder or table")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dataset.…=… or paths.data=…")


def run(args: argparse.Namespace) -> int:
    """List the data sets, or fetch, verify or describe one."""
    from splitpriv import config, options
    from splitpriv.targets import build

    name = args.name
    config.with_plugins([*args.overrides, *([name] if name and "=" in name else [])])
    names = options.names(config.CONF, "dataset")
    if args.action == "list":
        for known in names:
            path = options.file(config.CONF, "dataset", known)
            print(f"{known:14} {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ') if path else ''}")
        return 0
    is_path = bool(name) and args.action == "describe" and name not in names and Path(name).exists()
    overrides = [o for o in ([] if is_path else [name]) + args.overrides if o and "=" in o]
    if not name or (not is_path and "=" in name):
        raise UserError(f"data {args.action}: name a data set; there are {', '.join(names)}")
    if not is_path and name not in names and args.action == "describe":
        raise UserError(f"data describe: there is no folder or table {shown(name)}, nor such a data set; there are "
                        f"{', '.join(names)}")  # fmt: skip
    cfg = config.compose([f"dataset={'images' if is_path else name}", *overrides])
    if is_path:
        cfg["dataset"]["path"] = str(Path(name).absolute())
    with blame("dataset"):
        dataset = build(cfg["dataset"], "dataset")()
    root = Path(cfg["paths"]["data"])
    if args.action == "describe":
        folder = Path(cfg["paths"]["outputs"]) / "describe"
        return describe(dataset, root, folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', Path(name).name)}.png")
    print(f"{name}: {fetched(dataset, root) if args.action == 'fetch' else dataset.verify(root)}")
    return 0


def fetched(dataset: Dataset, root: Path) -> str:
    """What there is of a data set, in whatever form it is read, once it is there."""
    with suppress(UserError):
        return dataset.verify(root)
    dataset.fetch(root)
    return dataset.verify(root)


def describe(dataset: Any, root: Path, sheet: Path) -> int:
    """Print what is read of a data set, and write a contact sheet of its classes to `sheet`."""
    from splitpriv.measure import contact

    reading = dataset.reading or Reading(layout=f"{type(dataset).__name__}, as published")
    dataset.content(root)  # which notes what its files share
    if dataset.reading:  # said first, so that it is there should an image be damaged
        print("\n".join(reading.lines()))
    pools = dataset.read(root)
    classes = getattr(dataset, "classes", None) or [str(i) for i in range(dataset.spec.classes)]
    if not dataset.reading:
        for pool, split in pools.items():
            reading.count(pool, (classes[i] for i in split.y.tolist()))
    print("\n".join(reading.about_files() if dataset.reading else reading.lines()))
    for name, count in dataset.spec.attributes.items():
        print(f"attribute {shown(name)}: {count:,} values")
    print(f"images: {' x '.join(map(str, dataset.spec.image))}, as they are attacked")
    sheet.parent.mkdir(parents=True, exist_ok=True)
    contact.sheet(sheet, pools["train"], [shown(name) for name in classes])
    print(f"picture: {sheet}")
    return 0
