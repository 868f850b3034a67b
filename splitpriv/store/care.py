"""Looking after a store: whether it holds what was written, what no row needs, and what takes the room."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from filelock import Timeout

from splitpriv.store import notes, proof
from splitpriv.store.folder import Store, write_atomic
from splitpriv.store.locks import Lock

KEY = re.compile(r"[0-9a-f]{8,64}")
SCRATCH = re.compile(r"\.(.+)\.\d+")  # what `write_atomic` leaves when it is killed
NEEDED_BY_ROWS = ("fit", "attack", "measure")  # other stages are results themselves


@dataclass
class Verdict:
    """What `verify` found; `damaged` has a line for each stage and row."""

    whole: int = 0
    older: int = 0  # finished before hashes were kept
    unfinished: int = 0
    rows: int = 0
    damaged: list[str] = field(default_factory=list)


def stages(store: Store) -> Iterator[Path]:
    """The folder of every stage, finished or not."""
    for folder in sorted(store.root.glob("*")):
        if folder.is_dir() and folder.name not in ("rows", "notes", "multirun", "track", "tables"):
            yield from (p for p in sorted(folder.iterdir()) if p.is_dir() and KEY.fullmatch(p.name))


def verify(store: Store, seal: bool = False) -> Verdict:
    """Compare every file of every finished stage and every row with what was written.

    Stages of an older version have no hashes: that they can be read is all that can be said. With `seal` their hashes
    are taken now, as they are.
    """
    verdict = Verdict()
    for home in stages(store):
        wrong = proof.damage(home)
        if wrong:
            told = ", ".join(f"{name} is {what}" for name, what in wrong.items())
            verdict.damaged.append(f"{home.parent.name}/{home.name}: {told}")
        elif wrong is None:
            verdict.unfinished += 1
        elif proof.recorded(home):
            verdict.whole += 1
        else:
            verdict.older += 1
            if seal:
                with Lock(home.with_name(f"{home.name}.lock")):
                    write_atomic(home / "done", proof.record(home, {"sealed_later": True}))
    rows, wrong = store.read_rows(anew=True)
    verdict.rows = len(rows)
    verdict.damaged += [f"rows/{name} {why}" for name, why in wrong.items()]
    verdict.damaged += notes.damaged(store)
    return verdict


def prune(store: Store, *, hours: float, dry: bool = False) -> list[tuple[Path, str, int]]:
    """Remove what no finished run needs: (place, why, bytes) of each; with `dry` only say so.

    Unfinished and failed stages go, and the halves of files that a kill left; finished stages go when no row names
    them. What a process holds the lock of stays, and whatever was touched within the last `hours`: a run between two
    of its stages holds no lock. Where a row of an older version, which does not name them, or a damaged one is left,
    finished stages stay.
    """
    needed = _needed(store)
    gone: list[tuple[Path, str, int]] = []
    for home in stages(store):
        name = f"{home.parent.name}/{home.name}"
        state = store.state(*name.split("/"))
        if state != "cached":
            why = "failed" if state == "failed" else "unfinished"
        elif needed is None or name in needed or home.parent.name not in NEEDED_BY_ROWS:
            continue
        else:
            why = "no row needs it"
        if _touched(home) > time.time() - 3600 * hours:
            continue
        try:
            with Lock(home.with_name(f"{home.name}.lock"), timeout=0):
                gone.append((home, why, size(home)))
                if not dry:
                    (home / "done").unlink(missing_ok=True)  # first: half a stage must not look finished
                    shutil.rmtree(home)
        except Timeout:
            continue
    for path in sorted(p for p in store.root.rglob(".*") if SCRATCH.fullmatch(p.name) and p.is_file()):
        if path.stat().st_mtime < time.time() - 3600 * hours:
            gone.append((path, "half of a file", path.stat().st_size))
            if not dry:
                path.unlink(missing_ok=True)
    return gone


def _needed(store: Store) -> set[str] | None:
    """Every stage that a row names; None where one does not say."""
    rows, wrong = store.read_rows()
    if wrong or any("stages" not in row for row in rows):  # whatever a damaged one named, its run can use again
        return None
    return {stage for row in rows for stage in row["stages"]}


def _touched(home: Path) -> float:
    return max(p.stat().st_mtime for p in (home, *home.rglob("*")))


def size(home: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(p.stat().st_size for p in home.rglob("*") if p.is_file())
