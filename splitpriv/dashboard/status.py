"""How far the store is: stages that are being built, that failed or that a kill left behind, and sweeps."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from splitpriv.store import Store

KEY = re.compile(r"[0-9a-f]{8,64}")
SWEEP = re.compile(r"(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d)_(\d+)")


def status(store: Store) -> dict[str, Any]:
    """Counts of every stage, what runs, what failed with its traceback, what was interrupted, and the sweeps."""
    stages: dict[str, dict[str, int]] = {}
    told: dict[str, list[dict[str, Any]]] = {"running": [], "failed": [], "interrupted": []}
    for folder in sorted(p for p in store.root.glob("*") if p.is_dir() and p.name not in ("rows", "multirun")):
        homes = [p for p in sorted(folder.iterdir()) if p.is_dir() and KEY.fullmatch(p.name)]
        for home in homes:
            kind, more = _stage(store, folder.name, home)
            counts = stages.setdefault(folder.name, {"done": 0, "running": 0, "failed": 0, "interrupted": 0})
            counts[kind] += 1
            if kind != "done":
                told[kind].append({"stage": folder.name, "key": home.name, **more})
    rows = len(list((store.root / "rows").glob("*.json")))
    return {"stages": stages, **told, "rows": rows, "sweeps": sweeps(store.root / "multirun")}


def _stage(store: Store, stage: str, home: Path) -> tuple[str, dict[str, Any]]:
    state = store.state(stage, home.name)
    if state == "cached":
        return "done", {}
    held = is_held(home.with_name(f"{home.name}.lock"))
    if state == "failed" and not held:
        return "failed", {"traceback": _read(home / "failed"), "at": _time(home / "failed")}
    notes = _notes(home / "curve.json")
    more = {"at": max((_time(p) for p in home.iterdir()), default=_time(home)), "epochs": len(notes)}
    return ("running" if held else "interrupted"), {**more, "last": notes[-1] if notes else {}}


def is_held(path: Path) -> bool:
    """Whether a process holds this lock; a system without `flock` cannot tell, and says no."""
    try:
        import fcntl

        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(file, fcntl.LOCK_UN)
    except (ImportError, OSError):
        pass
    return False


def sweeps(folder: Path) -> list[dict[str, Any]]:
    """Every sweep, newest first: its overrides and each point's state."""
    found = []
    for home in sorted((p for p in folder.glob("*") if SWEEP.fullmatch(p.name)), reverse=True):
        parts = SWEEP.fullmatch(home.name)
        assert parts
        day, hour, minute, second, pid = parts.groups()
        overrides, points = planned(home / "multirun.yaml", _time(home / "multirun.yaml"))
        alive = is_alive(int(pid))
        begun = sorted((p for p in home.iterdir() if p.is_dir() and p.name.isdecimal()), key=lambda p: int(p.name))
        states = [_point(p, alive and p == begun[-1], points) for p in begun]
        waiting = [{"state": "waiting" if alive else "not started", "overrides": label, "number": i}
                   for i, label in enumerate(points) if i >= len(begun)]  # fmt: skip
        found.append({"name": home.name, "begun": f"{day} {hour}:{minute}:{second}", "alive": alive,
                      "overrides": overrides, "points": states + waiting})  # fmt: skip
    return found


def _point(home: Path, running: bool, points: tuple[str, ...]) -> dict[str, Any]:
    number = int(home.name)
    label = points[number] if number < len(points) else ""
    if (failed := home / "failed.json").exists():
        return {"state": "failed", "number": number, "overrides": label, "problems": _problems(failed)}
    if (done := home / "done.json").exists():
        return {"state": "done", "number": number, "overrides": label, "key": _json(done, {}).get("key")}
    return {"state": "running" if running else "ended", "number": number, "overrides": label}


def _problems(path: Path) -> list[str]:
    """The lines of a failed point, less the label that each repeats."""
    found = _json(path, [])
    lines = [str(line) for line in found] if isinstance(found, list) else [str(found)]
    label = lines[0].split("] ", 1)[0] + "] " if lines and lines[0].startswith("[") and "] " in lines[0] else ""
    return [line.removeprefix(label) if label else line for line in lines]


@cache
def planned(path: Path, written: str) -> tuple[str, tuple[str, ...]]:
    """A sweep's overrides and those of its points, as `written`; empty where Hydra's file is not there or not ours."""
    from omegaconf import OmegaConf

    try:
        words = [str(word) for word in OmegaConf.load(path).hydra.overrides.task]
    except Exception:  # a file that another program wrote
        return "", ()
    from splitpriv import sweeping
    from splitpriv.types import UserError

    try:
        points = tuple(" ".join(point) for point in sweeping.points(words))
    except UserError:
        points = ()
    return " ".join(words), points


def is_alive(pid: int) -> bool:
    """Whether such a process runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[-20000:]
    except OSError:
        return ""


def _json(path: Path, otherwise: Any) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return otherwise


def _notes(path: Path) -> list[dict[str, Any]]:
    found = _json(path, [])
    return [note for note in found if isinstance(note, dict)] if isinstance(found, list) else []


def _time(path: Path) -> str:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except OSError:
        return ""
