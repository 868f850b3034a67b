"""The folder of a sweep: what it will run, what became of each point, and whether somebody asked it to end."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from splitpriv.config import Config, nearest
from splitpriv.store import Store, read_json, write_atomic
from splitpriv.store.locks import Lock, Timeout
from splitpriv.types import UserError

# In the folder of a sweep, and in that of each point. A held LOCK means that the process lives: a kill frees it.
LOCK, POINTS, DONE, FAILED = "lock", "points.json", "done.json", "failed.json"
CONFIGS = "configs"  # in that of a sweep: the config of each of its points, by number
CANCEL = "cancel.json"  # in that of a sweep: why no point of it shall go on
FRONT = "front.json"  # in that of a search: its best trials so far
LOG = "log.txt"  # in that of a point: what it printed, every try


def fresh(root: Path, name: str = "") -> Path:
    """A folder below `root` for the sweep that begins now, called by time, process and perhaps what it is of."""
    stamp = "_".join([time.strftime("%Y-%m-%d_%H-%M-%S"), str(os.getpid()), *([name] if name else [])])
    names = itertools.chain([stamp], (f"{stamp}_{again}" for again in itertools.count(2)))
    places = (root / "multirun" / each for each in names)  # a process may begin several sweeps in one second
    return next(place for place in places if not place.exists())


def find(root: Path, stamp: str | None) -> Path:
    """The sweep that a stamp, or the beginning of one, names; the newest where there is none given."""
    names = sorted(p.name for p in (root / "multirun").glob("*") if p.is_dir())
    if not names:
        raise UserError(f"sweep: there is none in {root}; begin one with `splitpriv run -m`, or set paths.outputs")
    if stamp is None:
        return root / "multirun" / names[-1]
    if stamp in names:
        return root / "multirun" / stamp
    found = [name for name in names if name.startswith(stamp)]
    if len(found) != 1:
        told = f"begins {len(found)} of them" if found else f"is none; {nearest(stamp, names)}"
        raise UserError(f"sweep {stamp}: {told}; `splitpriv dashboard` and {root / 'multirun'} show all")
    return root / "multirun" / found[0]


@contextmanager
def planned(
    folder: Path, points: Sequence[Mapping[str, Any]], cfgs: Sequence[Config] = (), **about: Any
) -> Iterator[None]:
    """Leave in `folder` what a sweep will run, for those who watch, and hold its lock while it does.

    Each point has its `overrides`, and whatever else names it; `about` is said of the whole sweep. The points' configs
    are kept, so that what was checked is what runs, whoever composes again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder / LOCK):
        (folder / CONFIGS).mkdir(exist_ok=True)
        for i, cfg in enumerate(cfgs):
            write_atomic(folder / CONFIGS / f"{i}.json", json.dumps(cfg))
        write_atomic(folder / POINTS, json.dumps({**about, "points": list(points)}))
        yield


@contextmanager
def resumed(folder: Path) -> Iterator[None]:
    """Hold the lock of a sweep that was left, or go on beside whoever still works at it."""
    (folder / CANCEL).unlink(missing_ok=True)
    lock = Lock(folder / LOCK, timeout=0)
    try:
        lock.__enter__()
    except Timeout:
        yield
        return
    with lock.entered():
        yield


def plan(folder: Path) -> dict[str, Any]:
    """What a sweep left of its plan; empty where it left none."""
    return dict(read_json(folder / POINTS, {}))


def config_of(folder: Path, number: int) -> Config:
    """The config of a point, as it was checked; raise UserError where it was lost."""
    cfg = read_json(folder / CONFIGS / f"{number}.json", {})
    if not cfg:
        raise UserError(f"sweep {folder.name}: the config of point {number} was lost; repeat its command, which makes "
                        "only what is not finished")  # fmt: skip
    return dict(cfg)


def is_done(folder: Path, number: int) -> bool:
    """Whether a point of a sweep has its row."""
    return (folder / str(number) / DONE).exists()


def key_of(folder: Path, number: int) -> str:
    """The key of a finished point's row; empty before."""
    return str(read_json(folder / str(number) / DONE, {}).get("key", ""))


def keys(folder: Path) -> list[str]:
    """The keys of all rows that a sweep has made so far."""
    return [key for home in sorted(folder.glob(f"*/{DONE}")) if (key := key_of(folder, int(home.parent.name)))]


def front(folder: Path) -> list[dict[str, Any]]:
    """The best trials of a search so far: their params, their numbers and the keys of their rows."""
    return list(read_json(folder / FRONT, []))


def store_of(folder: Path) -> Store:
    """The store that a sweep belongs to."""
    return Store(folder.parents[1])


def failure(folder: Path, number: int) -> list[str]:
    """What went wrong at a point of a sweep, if anything did."""
    left = folder / str(number) / FAILED
    told = read_json(left, {}).get("problems")
    lost = [f"{left} was lost, and with it what went wrong"] if left.exists() else []
    return [str(line) for line in told] if told and isinstance(told, list) else lost


def leave(folder: Path, number: int, outcome: Mapping[str, Any]) -> None:
    """What became of a point: `key` of its row, or `problems`, beside whatever else is told."""
    home = folder / str(number)
    home.mkdir(parents=True, exist_ok=True)
    write_atomic(home / (FAILED if "problems" in outcome else DONE), json.dumps(outcome))
    if "key" in outcome:
        (home / FAILED).unlink(missing_ok=True)


def cancel(folder: Path, why: str) -> None:
    """Ask every point to end, on whatever machine it runs: its process looks here at every beat of its lock."""
    write_atomic(folder / CANCEL, json.dumps({"why": why}))


def cancelled(folder: Path) -> str:
    """Why no point of a sweep shall go on; empty where they shall."""
    return str(read_json(folder / CANCEL, {}).get("why", ""))
