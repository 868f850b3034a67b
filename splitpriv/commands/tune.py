"""`splitpriv tune`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from splitpriv import overrides, plain
from splitpriv.types import UserError


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    tune = commands.add_parser("tune", help="the best strength of a defence at a bounded loss of utility, with picture")
    tune.add_argument("--loss", type=float, default=1.0, metavar="POINTS", help="of utility, in points (default 1)")
    tune.add_argument("--trials", type=int, default=20, help="strengths to try, all calls together (default 20)")
    tune.add_argument("--metric", choices=["mse", "ssim"], default="mse", help="of the attacks' reconstructions")
    tune.add_argument("--out", type=Path, help="PNG, SVG or PDF (default: tune.png in the sweep's folder)")
    tune.add_argument("overrides", nargs="*", metavar="key=value", help="the run, as in 'defense=[cem,noise]'; an "
                      "interval or values of a defence's setting are searched in place of the strengths")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Search, draw, and say what to run."""
    from splitpriv.launch import folder, tuning
    from splitpriv.report import curves
    from splitpriv.store import Store

    if not 0 <= args.loss <= 100:
        raise UserError(f"--loss {args.loss:g}: is no number of points; give 0 to 100")
    if args.trials < 1:
        raise UserError(f"--trials {args.trials}: give at least one")
    if args.out and args.out.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"--out {args.out}: pictures are .png, .svg or .pdf; change its ending")
    found = tuning.tune(
        args.overrides, loss=args.loss / 100, trials=args.trials, metric=args.metric,
        home=lambda prepared: folder.fresh(Store(prepared.cfg["paths"]["outputs"]).root, "tune"),
    )  # fmt: skip
    out = args.out or found.folder / "tune.png"
    marks = {found.best["key"]: f"best at ≤ {args.loss:g} points of loss"} if found.best else {}
    store = folder.store_of(found.folder)
    rows = list({row["key"]: row for row in (found.twin, *found.rows)}.values())
    curves.draw(rows, store, out, metric=args.metric, x=found.utility, y=found.privacy, marks=marks)
    print(_line("undefended", found.twin, found))
    if found.best is None:
        mildest = min(found.rows, key=found.lost)
        print(_line("mildest", mildest, found))
        print(f"picture: {out}")
        raise UserError(f"tune: every strength loses more than {args.loss:g} points of {found.utility}, the mildest "
                        f"{100 * found.lost(mildest):.2f}; allow more with --loss, or search weaker ones, as in "
                        f"'{found.searched[0]}=interval(...)'")  # fmt: skip
    print(_line(f"best at ≤ {args.loss:g} points of loss", found.best, found))
    chosen = [f"{key}={found.best[key]}" for key in found.searched if found.best.get(key) is not None]
    kept = [word for word in args.overrides
            if word.partition("=")[0] not in found.searched and not overrides.is_hydra(word)]  # fmt: skip
    print(f"run it: {shlex.join(['splitpriv', 'run', *kept, *chosen])}")
    print(f"picture: {out}")
    return 0


def _line(what: str, row: Any, found: Any) -> str:
    """What a row costs and protects."""
    told = ", ".join(f"{key}={row[key]}" for key in found.searched if row.get(key) is not None)
    points = f"{0.0 - 100 * found.lost(row):+.2f} points"
    where = f"{told}: " if told else ""
    numbers = f"{found.utility} {row[found.utility]:.4f} ({points}), {found.privacy} {row[found.privacy]:.4g}"
    return plain.line(f"{what}: {where}{numbers}")
