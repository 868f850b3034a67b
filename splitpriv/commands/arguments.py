"""Arguments that several commands share."""

from __future__ import annotations

import argparse


def select(command: argparse.ArgumentParser) -> None:
    """Which rows."""
    command.add_argument("--where", action="extend", nargs="+", default=[], metavar="key=value",
                         help="keep such rows; also != and, between numbers, 'key>=value', <=, > and <")  # fmt: skip


def axes(command: argparse.ArgumentParser) -> None:
    """Which numbers of a row to compare."""
    command.add_argument("--metric", choices=["mse", "psnr", "ssim", "lpips"], default="mse")
    command.add_argument("--x", metavar="KEY", help="key of a row across (default: the task's headline utility)")
    command.add_argument("--y", metavar="KEY", help="key of a row upwards (default: privacy/worst/METRIC)")
    command.add_argument("--by", default="chain", metavar="KEY", help="key that colours points (default: chain)")


def places(command: argparse.ArgumentParser) -> None:
    """Where to look."""
    command.add_argument("overrides", nargs="*", metavar="key=value", help="paths.outputs=… or paths.data=…")
