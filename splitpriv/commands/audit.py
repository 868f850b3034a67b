"""`splitpriv audit`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from splitpriv.types import UserError

TIERS = ("quick", "standard", "plus")


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    audit = commands.add_parser("audit", help="attack an edge that was trained elsewhere: what does it give away?")
    audit.add_argument("--edge", metavar="EDGE", help="model.pt2 (torch.export), model.onnx, or package:function")
    audit.add_argument("--releases", type=Path, metavar="FILE.npz", help="what a device sent, beside images or without")
    audit.add_argument("--data", metavar="DIR", help="images like the users', which the adversary holds")
    audit.add_argument("--victims", metavar="DIR", help="the users' images; without them, a share of --data")
    audit.add_argument("--size", metavar="N", help="side of the images, or HEIGHT,WIDTH (default: as they are)")
    audit.add_argument("--channels", type=int, choices=[1, 3], help="of the images (default: the edge's, else 3)")
    audit.add_argument("--mean", default="0", metavar="M,M,M", help="what the edge expects taken from [0, 1]")
    audit.add_argument("--std", default="1", metavar="S,S,S", help="and by what it expects the rest divided")
    audit.add_argument("--tier", choices=TIERS, default="quick", help="how far the attack suite goes (default: quick)")
    audit.add_argument("--paired", action="store_true", help="recorded releases are in the images' order, surely")
    audit.add_argument("overrides", nargs="*", metavar="key=value", help="of attack, measure, runtime, track and paths")


def run(args: argparse.Namespace) -> int:
    """Audit an edge, print what its releases give away, and say where to look."""
    from splitpriv.given.audit import Question, audit
    from splitpriv.report.audited import print_audit

    size = _numbers(args.size, "--size", int) if args.size else None
    if size is not None and len(size) > 2:
        raise UserError(f"--size: {args.size} is no size; give a side, or HEIGHT,WIDTH")
    row, given = audit(Question(
        edge=args.edge, data=args.data, victims=args.victims, releases=args.releases,
        size=None if size is None else size[0] if len(size) == 1 else (size[0], size[1]), channels=args.channels,
        mean=_numbers(args.mean, "--mean", float), std=_numbers(args.std, "--std", float), tier=args.tier,
        paired=args.paired, words=args.overrides,
    ))  # fmt: skip
    print_audit(row, given.store)
    return 0


def _numbers(text: str, option: str, kind: type) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"{option}: {text!r} is no number; give for example {option} 0.5, or 0.5,0.5,0.5") from error
