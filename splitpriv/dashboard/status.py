"""How far the store is: stages that are being built, that failed or that a kill left behind, and sweeps."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from splitpriv.launch import sweeping
from splitpriv.store import Store

KEY = re.compile(r"[0-9a-f]{8,64}")
SWEEP = re.compile(r"(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d)_\d+(?:_.+)?")


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
    """Every sweep, newest first: what it was told, each of its points and that point's state."""
    found = []
    for home in sorted((p for p in folder.glob("*") if SWEEP.fullmatch(p.name)), reverse=True):
        day, hour, minute, second = SWEEP.fullmatch(home.name).groups()  # type: ignore[union-attr]
        alive = is_held(home / sweeping.LOCK)
        about = _json(home / sweeping.POINTS, {})
        plan = about.pop("points", [])
        begun = {int(p.name): p for p in home.iterdir() if p.name.isdecimal()}
        points = [{**(plan[i] if i < len(plan) else {}), "number": i, **_point(home / str(i), alive)}
                  for i in sorted({*range(len(plan)), *begun})]  # fmt: skip
        found.append({**about, "name": home.name, "begun": f"{day} {hour}:{minute}:{second}", "alive": alive,
                      "points": points})  # fmt: skip
    return found


def _point(home: Path, alive: bool) -> dict[str, Any]:
    """The state of one point of a sweep that is `alive` or not; a process that works at it holds its lock."""
    held = is_held(home / sweeping.LOCK)  # asked first: whoever lets go has left its result
    if (home / sweeping.FAILED).exists():
        left = _json(home / sweeping.FAILED, [])
        return {"state": "failed", **(left if isinstance(left, dict) else {"problems": left})}
    if (home / sweeping.DONE).exists():
        return {"state": "done", **_json(home / sweeping.DONE, {})}
    if held:
        return {"state": "running"}
    if alive and not (home / sweeping.LOCK).exists():
        return {"state": "waiting"}
    return {"state": "interrupted" if home.is_dir() else "not started"}


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
