"""`splitpriv store`: verify, prune or size the store."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from splitpriv import plain
from splitpriv.commands import arguments
from splitpriv.types import UserError


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    store = commands.add_parser("store", help="is the store whole, what can go, and what takes the room")
    store.add_argument("action", choices=["verify", "prune", "size"])
    store.add_argument(
        "--seal", action="store_true", help="verify: take hashes of stages of older versions, as they are"
    )
    store.add_argument("--dry-run", action="store_true", help="prune: say what would go, and leave it")
    store.add_argument("--hours", type=float, default=1.0, help="prune: leave what was touched so lately (default 1)")
    arguments.places(store)


def run(args: argparse.Namespace) -> int:
    """Verify, prune or size; 1 where something is damaged."""
    from splitpriv import config
    from splitpriv.store import Store

    store = Store(config.compose(args.overrides)["paths"]["outputs"])
    return {"verify": verify, "prune": prune, "size": size}[args.action](args, store)


def verify(args: argparse.Namespace, store: Any) -> int:
    """Name what is damaged, count the rest."""
    from splitpriv.store import care

    verdict = care.verify(store, seal=args.seal)
    for line in verdict.damaged:
        print(plain.line(line))
    older = "sealed now, as they are" if args.seal else "without hashes; --seal takes them, as they are"
    print(f"{verdict.whole} stages and {verdict.rows} rows whole, {verdict.unfinished} stages unfinished"
          + (f", {verdict.older} stages of an older version {older}" if verdict.older else ""))  # fmt: skip
    if verdict.damaged:
        print(f"{len(verdict.damaged)} damaged; the run that made them makes them again")
    return int(bool(verdict.damaged))


def prune(args: argparse.Namespace, store: Any) -> int:
    """Remove what no row needs, or say what would go."""
    from splitpriv.store import care

    if not 0 <= args.hours < math.inf:  # of NaN nothing is later: runs between two of their stages would lose them
        raise UserError(f"--hours {args.hours:g}: is no length of time; give 0 or more")
    gone = care.prune(store, hours=args.hours, dry=args.dry_run)
    for path, why, amount in gone:
        print(f"{path.relative_to(store.root)}  {why}  {told(amount)}")
    done = "would go" if args.dry_run else "removed"
    print(f"{len(gone)} {done}, {told(sum(amount for *_, amount in gone))}")
    return 0


def size(args: argparse.Namespace, store: Any) -> int:
    """What every folder of the store takes, and the whole."""
    from splitpriv.store import care

    folders: list[Path] = [p for p in sorted(store.root.glob("*")) if p.is_dir()]
    sizes = {p.name: care.size(p) for p in folders}
    counts = {name: sum(home.parent.name == name for home in care.stages(store)) for name in sizes}
    counts["rows"] = len(list((store.root / "rows").glob("*.json")))
    for name, amount in sizes.items():
        print(f"{name:10} {counts[name] or '':>7} {told(amount):>10}")
    print(f"{'all':10} {'':>7} {told(sum(sizes.values())):>10}")
    return 0


def told(amount: float) -> str:
    """Bytes for people."""
    units = iter(("B", "KB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= 1000 and unit != "TB":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
