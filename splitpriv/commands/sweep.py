"""`splitpriv sweep`: how far a sweep is, and running again what failed; from any shell that sees the store."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from splitpriv import plain
from splitpriv.types import UserError

ORDER = ("done", "running", "waiting", "failed", "interrupted", "not started")


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    sweep = commands.add_parser("sweep", help="how far a sweep is; retry what failed, cancel it, read its logs")
    sweep.add_argument("action", choices=["status", "retry", "cancel", "logs"])
    sweep.add_argument(
        "overrides", nargs="*", metavar="STAMP [POINT] key=value",
        help="which sweep, or how its name begins (default: the newest); logs: which point; retry: hydra/launcher=...",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Show, retry, cancel or read."""
    from splitpriv import config
    from splitpriv.launch import folder
    from splitpriv.store import Store

    words = [word for word in args.overrides if "=" in word]
    names = [word for word in args.overrides if "=" not in word]
    if len(names) > (2 if args.action == "logs" else 1):
        raise UserError(f"sweep {args.action}: {' '.join(names)} are too many names; give one sweep")
    root = Store(config.compose([word for word in words if word.startswith("paths.")])["paths"]["outputs"]).root
    number = names.pop() if args.action == "logs" and names and names[-1].isdecimal() and len(names[-1]) < 8 else None
    if args.action != "retry" and (wrong := [word for word in words if not word.startswith("paths.")]):
        raise UserError(f"sweep {args.action}: takes no {wrong[0]}; only retry may change the launcher")
    home = folder.find(root, names[0] if names else None)
    if args.action == "retry":
        return retry(home, [word for word in words if not word.startswith("paths.")])
    if args.action == "cancel":
        return cancel(home)
    return logs(home, None if number is None else int(number)) if args.action == "logs" else status(home)


def status(home: Path) -> int:
    """Print counts, what runs and what failed, with the last line of its traceback, and the time left."""
    from splitpriv.dashboard.status import sweep as look
    from splitpriv.launch import folder

    found = look(home)
    points = found["points"]
    counts = {state: sum(point["state"] == state for point in points) for state in ORDER}
    told = " · ".join(f"{n} {state}" for state, n in counts.items() if n) or "no point yet"
    print(f"{home.name}: {told}" + ("" if found["alive"] or counts["running"] else "; nobody works at it"))
    if why := folder.cancelled(home):
        print(f"cancelled: {plain.line(why)}")
    for point in points:
        if point["state"] == "running":
            print(f"  {point['number']:>4} running  {plain.line(point.get('host', ''))}  {_name(point, points)}")
    for point in points:
        if point["state"] == "failed":
            last = next((line for line in reversed(point.get("problems", [])) if line.strip()), "?")
            print(f"  {point['number']:>4} failed  {_name(point, points)}  {plain.line(last)}")
    seconds = [point["seconds"] for point in points if isinstance(point.get("seconds"), int | float)]
    if left := counts["running"] + counts["waiting"]:
        print(f"time left: {_left(seconds, left, counts['running'])}")
    elif counts["failed"] + counts["interrupted"] + counts["not started"]:
        print(f"splitpriv sweep retry {home.name}   # runs what failed, and what was left")
    return 0


def _left(seconds: Sequence[float], points: int, workers: int) -> str:
    """The time that points need at the pace of those that ended."""
    if not seconds:
        return "unknown before the first point ends"
    each, total = median(seconds), median(seconds) * points / max(1, workers)
    spoken = f"{total:.0f} s" if total < 120 else f"{total / 60:.0f} min" if total < 7200 else f"{total / 3600:.1f} h"
    return f"about {spoken}; {points} points of {each:.3g} s, {max(1, workers)} at a time"


def _name(point: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str:
    """The overrides in which a point differs from others, or its row of a table."""
    if "row" in point:
        return plain.line(f"{point['row']} ({point.get('play', '')}, seed {point.get('seed', '')})")
    words = point.get("overrides", [])
    shared = set.intersection(*(set(p.get("overrides", [])) for p in points)) if len(points) > 1 else set()
    return plain.line(" ".join(word for word in words if word not in shared)) or "as it is"


def retry(home: Path, words: Sequence[str]) -> int:
    """Run again what failed, and what nobody works at any more."""
    from splitpriv.launch import sweeping
    from splitpriv.launch.running import complain

    failed = sweeping.retry(home, words)
    return complain(failed) if failed else 0


def cancel(home: Path) -> int:
    """Ask every process that works at a sweep to end."""
    from splitpriv.dashboard.status import sweep as look
    from splitpriv.launch import folder
    from splitpriv.store.locks import BEAT

    found = look(home)
    running = sum(point["state"] == "running" for point in found["points"])
    if not found["alive"] and not running:
        print(f"{home.name}: nobody works at it; `splitpriv sweep retry {home.name}` goes on")
        return 0
    folder.cancel(home, "cancelled by `splitpriv sweep cancel`")
    print(
        f"{home.name}: {running} points end within about {2 * BEAT:.0f} s, and none begins; what they reached is kept"
    )
    return 0


def logs(home: Path, number: int | None) -> int:
    """Print what one point said, or which points said something."""
    from splitpriv.launch import folder

    kept = {int(p.parent.name): p for p in home.glob(f"*/{folder.LOG}") if p.parent.name.isdecimal()}
    left = {int(p.parent.name) for p in home.glob(f"*/{folder.FAILED}") if p.parent.name.isdecimal()}
    if number is not None and number not in {*kept, *left}:
        raise UserError(
            f"sweep logs: point {number} of {home.name} was not begun; `splitpriv sweep status` shows which"
        )
    for i in sorted({*kept, *left}) if number is None else [number]:
        text = kept[i].read_text(encoding="utf-8", errors="replace") if i in kept else ""
        lines = [line.rpartition("\r")[2] for line in text.splitlines()]
        if i in left:
            lines += folder.failure(home, i)
        for line in lines if number is not None else lines[-3:]:
            print(f"{'' if number is not None else f'{i:>4}  '}{plain.line(line)}")
    return 0
