"""What files hold: their hashes, taken once and kept beside the decoded images."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from splitpriv.types import UserError


def hashes(paths: Sequence[Path], root: Path, *, key: str, remedy: str) -> list[str]:
    """SHA-256 of every file, hexadecimal; read again only where size or a time of it changed.

    They are remembered under `root`/.cache, where that can be written. UserError names config key `key`, what cannot be
    read, and `remedy`.
    """
    names = [str(path) for path in dict.fromkeys(paths)]
    place = root / ".cache" / f"contents-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]}.json"
    known = _remembered(place)
    stamps: dict[str, list[int]] = {}
    try:
        for name in names:
            status = Path(name).stat()
            stamps[name] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        new = [name for name in names if known.get(name, [None])[:-1] != stamps[name]]
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            fresh = dict(zip(new, workers.map(_sha256, new), strict=True))
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: cannot read {getattr(error, 'filename', None) or error}; {remedy}") from error
    held = {name: [*stamps[name], fresh.get(name) or known[name][-1]] for name in names}
    if fresh:
        _remember(place, held)
    return [str(held[str(path)][-1]) for path in paths]


def _sha256(name: str) -> str:
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remembered(place: Path) -> dict[str, list[object]]:
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(known, dict) and all(isinstance(v, list) and len(v) == 4 for v in known.values())
    return known if whole else {}


def _remember(place: Path, held: dict[str, list[object]]) -> None:
    scratch = place.with_suffix(f".{os.getpid()}.part")
    with contextlib.suppress(OSError):  # where nothing can be written, files are read again
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(held), encoding="utf-8")
        scratch.replace(place)
