"""How far the store is: stages that are being built, that failed or that a kill left behind, and sweeps."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from splitpriv.launch import folder as sweeping
from splitpriv.store import Store
from splitpriv.store.locks import holder, is_held

KEY = re.compile(r"[0-9a-f]{8,64}")
SWEEP = re.compile(r"(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d)_\d+(?:_.+)?")


def status(store: Store) -> dict[str, Any]:
    """Counts of every stage, what runs, what failed with its traceback, what was interrupted, and the sweeps."""
    stages: dict[str, dict[str, int]] = {}
    told: dict[str, list[dict[str, Any]]] = {"running": [], "failed": [], "interrupted": []}
    for folder in (p for p in _inside(store.root) if p.is_dir() and p.name not in ("rows", "multirun")):
        for home, stamp in _homes(folder):
            kind, more = ("done", {}) if (home, stamp) in _done else _stage(store, folder.name, home)
            if kind == "done":
                _done.add((home, stamp))
            counts = stages.setdefault(folder.name, {"done": 0, "running": 0, "failed": 0, "interrupted": 0})
            counts[kind] += 1
            if kind != "done":
                told[kind].append({"stage": folder.name, "key": home.name, **more})
    return {"stages": stages, **told, "sweeps": sweeps(store.root / "multirun")}


_done: set[tuple[Path, int]] = set()  # stages that were finished when their folders had these times


def _homes(folder: Path) -> list[tuple[Path, int]]:
    """The folders of a kind of stage, and when a file came to each or went."""
    try:
        with os.scandir(folder) as inside:
            stamps = [(e.name, e.stat().st_mtime_ns) for e in inside if KEY.fullmatch(e.name) and e.is_dir()]
    except OSError:
        return []
    return [(folder / name, stamp) for name, stamp in sorted(stamps)]


def _stage(store: Store, stage: str, home: Path) -> tuple[str, dict[str, Any]]:
    state = store.state(stage, home.name)
    if state == "cached":
        return "done", {}
    held = is_held(home.with_name(f"{home.name}.lock"))
    if state == "failed" and not held:
        return "failed", {"traceback": _read(home / "failed"), "at": _time(home / "failed")}
    notes = _notes(home / "curve.json")
    more = {"at": max((_time(p) for p in _inside(home)), default=_time(home)), "epochs": len(notes)}
    return ("running" if held else "interrupted"), {**more, "last": notes[-1] if notes else {}}


_over: dict[Path, tuple[Any, dict[str, Any]]] = {}  # sweeps at which nobody works, and the times of their folders


def _times(home: Path) -> list[tuple[str, int]]:
    try:
        with os.scandir(home) as inside:
            return sorted((entry.name, entry.stat(follow_symlinks=False).st_mtime_ns) for entry in inside)
    except OSError:
        return []


def sweeps(folder: Path) -> list[dict[str, Any]]:
    """Every sweep, newest first: what it was told, each of its points and that point's state."""
    records = []
    for home in reversed(_inside(folder)):
        if not SWEEP.fullmatch(home.name):
            continue
        stamp = _times(home)
        if _over.get(home, (None,))[0] == stamp and not is_held(home / sweeping.LOCK):
            records.append(_over[home][1])
            continue
        records.append(sweep(home))
        if not records[-1]["alive"] and all(point["state"] != "running" for point in records[-1]["points"]):
            _over[home] = stamp, records[-1]
    return records


def sweep(home: Path) -> dict[str, Any]:
    """One sweep, by its folder."""
    name = SWEEP.fullmatch(home.name)
    begun = "{} {}:{}:{}".format(*name.groups()) if name else ""
    alive = is_held(home / sweeping.LOCK)
    about = _record(home / sweeping.POINTS)
    plan = [point if isinstance(point, dict) else {} for point in _list(about.pop("points", []))]
    numbers = {int(p.name) for p in _inside(home) if p.name.isdecimal()}
    points = [{**(plan[i] if i < len(plan) else {}), "number": i, **_point(home / str(i), alive)}
              for i in sorted({*range(len(plan)), *numbers})]  # fmt: skip
    for point in points:
        for key in ("overrides", "problems"):
            if key in point:
                point[key] = [str(text) for text in _list(point[key])]
    front = [trial for trial in sweeping.front(home) if isinstance(trial, dict)]  # of a search alone
    return {**about, "name": home.name, "begun": begun, "alive": alive, "points": points, "front": front}


def _point(home: Path, alive: bool) -> dict[str, Any]:
    """The state of one point of a sweep that is `alive` or not; a process that works at it holds its lock."""
    held = is_held(home / sweeping.LOCK)  # asked first: whoever lets go has left its result
    if (home / sweeping.FAILED).exists():
        left = _json(home / sweeping.FAILED, [])
        return {"state": "failed", **(left if isinstance(left, dict) else {"problems": left})}
    if (home / sweeping.DONE).exists():
        return {"state": "done", **_record(home / sweeping.DONE)}
    if held:
        return {"state": "running", **({"host": name} if (name := holder(home / sweeping.LOCK).get("name")) else {})}
    if alive and not (home / sweeping.LOCK).exists():
        return {"state": "waiting"}
    return {"state": "interrupted" if home.is_dir() else "not started"}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[-20000:]
    except OSError:
        return ""


def _json(path: Path, otherwise: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return otherwise


def _record(path: Path) -> dict[str, Any]:
    record = _json(path, {})
    return record if isinstance(record, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _inside(folder: Path) -> list[Path]:
    """What a folder holds, in order; nothing where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _notes(path: Path) -> list[dict[str, Any]]:
    return [note for note in _list(_json(path, [])) if isinstance(note, dict)]


def _time(path: Path) -> str:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except OSError:
        return ""
