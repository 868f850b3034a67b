"""Proof that files are what they were: a SHA-256 of each in the stage's `done`, and JSON that carries its own."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SUM, FILES, MADE = "sum", "files", "made"


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal; read once per process as long as the file does not change."""
    return _sha256(path, *_stamp(path))


def is_published(path: Path) -> bool:
    """Whether the content of a file is what its name promises: torchvision's end in digits of their SHA-256."""
    digits = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    return digits is not None and sha256(path).startswith(digits[1])


def seal(content: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON of `content` with a SHA-256 of itself as its last entry."""
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, SUM: digest}, indent=indent) + "\n"


def unseal(text: str, since: str) -> dict[str, Any]:
    """The content of what `seal` wrote; raise ValueError where it is not what it was.

    Text without a sum is of an older version and accepted as it is, unless it has the entry `since` of newer ones.
    """
    content = json.loads(text, parse_int=_whole)
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__} in place of named entries")
    said = content.pop(SUM, None)
    if said is None and since not in content:
        return content
    if said != hashlib.sha256(json.dumps(content).encode()).hexdigest():
        raise ValueError("its content and its checksum differ")
    return content


def _whole(digits: str) -> int:
    if len(digits) > 20:  # beyond what any of our numbers has, and beyond what a float can hold
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def record(home: Path, made: Mapping[str, Any]) -> str:
    """What `done` is to say of a finished stage: the hash of every file in `home`, and how they were `made`."""
    paths = sorted(p for p in home.rglob("*") if p.is_file() and p.name[0] != ".")
    hashes = {p.relative_to(home).as_posix(): sha256(p) for p in paths if p != home / "done"}
    return seal({MADE: dict(made), FILES: hashes})


def recorded(home: Path) -> dict[str, Any] | None:
    """What `done` says; empty for a stage of an older version, whose `done` was empty; None for one that is not done.

    Raise ValueError for a `done` that is damaged.
    """
    try:
        text = (home / "done").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return unseal(text, FILES) if text else {}


def damage(home: Path, leaves: Sequence[str] = ()) -> dict[str, str] | None:
    """The files of a finished stage that are not what they were: name -> missing or damaged; None: it is not done.

    Of a stage of an older version no hash is known: its files count as whole where they can be read, and those that it
    `leaves` where they are there.
    """
    try:
        done = recorded(home)
    except ValueError:
        return {"done": "damaged"}
    if done is None:
        return None
    known = done.get(FILES)
    wrong = {name: "missing" for name in (*leaves, *(known or ())) if not (home / name).is_file()}
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        name = path.relative_to(home).as_posix()
        if not _readable(path, *_stamp(path)) if known is None else name in known and sha256(path) != known[name]:
            wrong[name] = "damaged"
    return wrong


def _stamp(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, *stamp: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=4096)
def _readable(path: Path, *stamp: int) -> bool:
    """Whether a file is whole as far as its format can tell."""
    try:
        if path.suffix == ".pt":
            return whole_zip(path)
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        if path.suffix == ".png":
            from PIL import Image

            with Image.open(path) as image:
                image.verify()
        if path.suffix == ".safetensors":  # eight bytes of length, as much JSON, and the tensors at their offsets
            content = path.read_bytes()
            size = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + size])
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return 8 + size + max(ends, default=0) == len(content)
    except Exception:  # whatever a damaged file makes of its reader
        return False
    return True


def whole_zip(path: Path) -> bool:
    """Whether the checksums of a file that torch saved are right; torch itself does not look at them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except OSError:
        raise
    except Exception:  # of several kinds, by what the damage hit
        return False
