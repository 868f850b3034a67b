"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.report.select import Selection

REOPENED = ("runtime.", "dataset.path=")  # what may differ where a run is opened again
METRICS = ("mse", "psnr", "ssim", "ms_ssim", "lpips", "told", "feature_distance")


def select(command: argparse.ArgumentParser) -> None:
    """Which rows."""
    command.add_argument("--where", action="extend", nargs="+", default=[], metavar="key=value",
                         help="keep such rows; also != and, between numbers, 'key>=value', <=, > and <")  # fmt: skip
    command.add_argument("--sweep", metavar="STAMP", help="keep the rows of one sweep, by its stamp or how that begins")


def chosen(args: argparse.Namespace) -> Selection:
    """The rows that the arguments of `select` and `places` choose."""
    from splitpriv.launch import folder
    from splitpriv.report.select import select

    selection = select(args.where, args.overrides)
    if args.sweep is None:
        return selection
    keys = folder.keys(folder.find(selection.store.root, args.sweep))
    return replace(selection, keys=frozenset(keys))


def axes(command: argparse.ArgumentParser) -> None:
    """Which numbers of a row to compare."""
    command.add_argument("--metric", choices=METRICS, default="mse")
    command.add_argument("--x", metavar="KEY", help="key of a row across (default: the task's headline utility)")
    command.add_argument("--y", metavar="KEY", help="key of a row upwards (default: privacy/worst/METRIC)")
    command.add_argument("--by", default="chain", metavar="KEY", help="key that colours points (default: chain)")


def require_out(args: argparse.Namespace) -> None:
    """Raise UserError where what a command is to write, the file `--out` or the folder that it `makes`, cannot be."""
    makes = getattr(args, "makes", None)
    place = getattr(args, makes or "out", None)
    if place is None or "://" in str(place):
        return
    said = f"{args.command} {'--out ' if args.command not in ('board', 'push') else ''}{place}"
    try:
        out = Path(place).expanduser().absolute()
        if not makes and out.is_dir():
            raise UserError(f"{said}: is a folder; name a file")
        there = next(path for path in (out, *out.parents) if path.exists())
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of a user who is not there
        raise UserError(f"{said}: is no place ({getattr(error, 'strerror', None) or error}); name another") from error
    if there.is_dir() and not os.access(there, os.W_OK):
        raise UserError(f"{said}: {there} cannot be written to; name another place")
    if not there.is_dir() and (makes or there != out):
        raise UserError(f"{said}: {'' if there == out else f'{there} '}is a file; name a folder")


def places(command: argparse.ArgumentParser, *also: str) -> None:
    """Where to look; `also`: how further overrides begin that the command heeds."""
    command.add_argument("overrides", nargs="*", metavar="key=value", help="paths.outputs=… or paths.data=…")
    command.set_defaults(places=("paths.", "plugins=", *also))


def require_places(args: argparse.Namespace) -> None:
    """Raise UserError for words that a command with `places` would pass by: a run is not set, nor chosen, there."""
    told = getattr(args, "places", None)
    wrong = [word for word in args.overrides if told and not word.lstrip("+~").startswith(told)]
    what = (
        "a filter stands behind --where" if "where" in args else f"{args.command} takes {', '.join(told or ())} alone"
    )
    if wrong:
        raise UserError(*(f"{word}: {what}" for word in wrong))
