"""Published files: found, checked bit by bit, fetched."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tarfile
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from splitpriv.progress import bar
from splitpriv.types import UserError

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Published:
    """A file as its publisher made it: `path` below the data folder, `size` in bytes, `digest` as "sha1:..."."""

    path: str
    size: int
    digest: str


def check(root: Path, files: Iterable[Published], remedy: str) -> None:
    """Raise UserError that names what is missing, and each file that is truncated or altered.

    A file found intact is not hashed again while its size and time of change stay the same.
    """
    stamps = _stamps(root)
    known = dict(stamps)
    problems, missing = [], []
    for file in files:
        path = root / file.path
        try:
            status = _readable(path)
            stamp = [status.st_size, status.st_mtime_ns, file.digest]
            if status.st_size < file.size:
                held = f"{status.st_size:,} of {file.size:,} bytes"
                problems.append(f"paths.data: {path} is truncated ({held}); delete it and {remedy}")
            elif stamps.get(file.path) == stamp:
                continue
            elif digest_of(path, file.digest) != file.digest:
                problems.append(f"paths.data: {path} has a wrong checksum (not {file.digest}); delete it and {remedy}")
            else:
                known[file.path] = stamp
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
        except OSError as error:
            problems.append(unreadable(error, path))
    if known != stamps:
        _stamp(root, known)
    if missing:
        more = f" and {len(missing) - 1} more files are" if len(missing) > 1 else " is"
        problems.insert(0, f"paths.data: {missing[0]}{more} missing; {remedy}")
    if problems:
        raise UserError(*problems)


def unreadable(error: OSError, path: Path | None = None) -> str:
    """What a user can do about a file of a data set that the system does not give."""
    named = path or error.filename or "a file"
    return f"paths.data: {named} cannot be read ({_reason(error)}); make it a file that you may read"


def text(path: Path, remedy: str) -> str:
    """What a list that comes with a data set says; UserError where it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"paths.data: {path} is no UTF-8 text (byte {error.start:,}); {remedy}") from error


def forget(root: Path, files: Iterable[Published]) -> None:
    """Have the next `check` hash these files again."""
    stamps = _stamps(root)
    for file in files:
        stamps.pop(file.path, None)
    _stamp(root, stamps)


def others(root: Path, words: Sequence[str], ours: Sequence[str]) -> str:
    """What else lies in `root` and has one of `words` in its name, whatever stands between, as the end of a remedy."""
    try:
        there = {path.name: _letters(path.name) for path in root.iterdir() if path.name not in ours}
    except OSError:
        return ""
    names = sorted(name for name, said in there.items() if any(_letters(word) in said for word in words))
    seen = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f" (seen there, and not read in this form: {seen})" if names else ""


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def digest_of(path: Path, like: str) -> str:
    """The digest of a file, by the algorithm that `like` ("sha1:...") names."""
    name = like.partition(":")[0]
    digest = hashlib.new(name, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return f"{name}:{digest.hexdigest()}"


def download(url: str, root: Path, digest: str, remedy: str) -> Path:
    """Download `url` into `root` under its own name, checked; a copy that is already there and intact is kept."""
    path = root / url.rpartition("/")[2]
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and digest_of(path, digest) == digest:
            return path
        root.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            _copy(url, file)
        if digest_of(scratch, digest) != digest:
            raise UserError(f"paths.data: what {url} sent has a wrong checksum (not {digest}); try again, or {remedy}")
        scratch.replace(path)
    except OSError as error:  # urllib's errors are among these
        raise UserError(f"paths.data: cannot fetch {url} into {root} ({_reason(error)}); {remedy}") from error
    finally:
        _discard(scratch)
    return path


def unpack(archive: Path, folder: Path, names: Iterable[str]) -> None:
    """Write the members called `names` of a tar archive into `folder`, whatever paths the archive gives them."""
    wanted = set(names)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            source = tar.extractfile(member) if member.isfile() and name in wanted else None
            if source is not None:
                write(folder / name, source)


def write(path: Path, source: IO[bytes]) -> None:
    """Write a stream to `path` in one atomic step; a disk that refuses is a UserError."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
        scratch.replace(path)
    except OSError as error:
        _discard(scratch)
        raise UserError(
            f"paths.data: cannot write {path} ({_reason(error)}); free space, or set paths.data to a folder you own"
        ) from error


def _copy(url: str, file: BinaryIO) -> None:
    with urllib.request.urlopen(url, timeout=30) as answer:
        total = int(answer.headers.get("Content-Length") or 0)
        with bar(url.rpartition("/")[2], total, unit="B") as progress:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                progress.update(len(chunk))


def _readable(path: Path) -> os.stat_result:
    """What the system says of a file that can be opened; raises OSError for any other."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no file")
    with path.open("rb"):
        return status


def _discard(scratch: Path) -> None:
    with contextlib.suppress(OSError):
        scratch.unlink()


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return str(getattr(reason, "strerror", None) or reason or error.strerror or error)


def _stamp_file(root: Path) -> Path:
    return root / ".cache" / "verified.json"


def _stamps(root: Path) -> dict[str, list[object]]:
    try:
        stamps = json.loads(_stamp_file(root).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _stamp(root: Path, stamps: dict[str, list[object]]) -> None:
    path = _stamp_file(root)
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        scratch.write_text(json.dumps(stamps), encoding="utf-8")
        scratch.replace(path)
    except OSError:  # a read-only data folder only costs hashing again
        return
