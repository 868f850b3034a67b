"""Image files decoded once: brought to one size and form, and kept as one array."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from splitpriv.data import pixels
from splitpriv.data.pixels import RefusedError, Rules, Seen
from splitpriv.data.reading import some
from splitpriv.progress import bar
from splitpriv.types import UserError

RESIDENT = 2 << 30  # bytes; larger arrays are memory-mapped
_CHUNK = 256
_SYSTEM = {Path(top).stat().st_dev for top in ("/proc", "/sys", "/dev") if os.path.ismount(top)}
_VERSION = 2  # of the decoding: files decoded by another one are decoded again


@dataclass
class Census:
    """What the files of a set were: how many of each format and mode, their sizes, their values."""

    kinds: Counter[str] = field(default_factory=Counter)
    smallest: list[int] = field(default_factory=list)  # width, height
    largest: list[int] = field(default_factory=list)
    low: float = float("inf")  # of values as stored
    high: float = float("-inf")
    brightest: int = 0  # of 255, as read
    several: int = 0  # files that hold more than one picture

    def add(self, seen: Seen, image: NDArray[np.uint8]) -> None:
        """Count one file."""
        self.kinds[seen.kind] += 1
        area = seen.size[0] * seen.size[1]
        if not self.smallest or area < self.smallest[0] * self.smallest[1]:
            self.smallest = list(seen.size)
        if not self.largest or area > self.largest[0] * self.largest[1]:
            self.largest = list(seen.size)
        self.low, self.high = min(self.low, seen.low), max(self.high, seen.high)
        self.brightest = max(self.brightest, int(image.max()))
        self.several += seen.several

    def facts(self) -> dict[str, Any]:
        """As they stand in a row."""
        facts = asdict(self)
        return {**facts, "kinds": dict(sorted(self.kinds.items()))}


def stat_all(paths: Sequence[Path], key: str, remedy: str) -> list[tuple[int, int, int]]:
    """(size, time of change of content, and of anything) of every file.

    UserError names those missing, and those that are no files.
    """
    stamps, missing, special = [], [], []
    for path in paths:
        try:
            status = path.stat()
        except (OSError, ValueError):  # ValueError: no path has such a name
            missing.append(path)
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_dev in _SYSTEM:
            special.append(path)
        stamps.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    problems = [
        f"{key}: {some(paths)} {'is' if len(paths) == 1 else 'are'} {what}; {remedy}"
        for what, paths in (
            ("missing", missing),
            ("no regular file, but a folder, a device, a pipe or a file of the system", special),
        )
        if paths
    ]
    if problems:
        raise UserError(*problems)
    return stamps


def decoded(
    paths: Sequence[Path], root: Path, *, label: str, rules: Rules, key: str, remedy: str
) -> tuple[NDArray[np.uint8], Census]:
    """All `paths` as uint8 (N, channels, height, width), and what they were; `rules` say how a file becomes pixels.

    They come from `root`/.cache where these very files were decoded before by these rules. Arrays over 2 GiB come
    memory-mapped. Where `root` cannot be written, every call decodes again. UserError names config key `key`, all files
    that cannot be read, and `remedy`.
    """
    stats = stat_all(paths, key, remedy)
    listing = [_VERSION, asdict(rules), [[str(p), *s] for p, s in zip(paths, stats, strict=True)]]
    name = hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]
    path, done = root / ".cache" / f"{label}-{name}.npy", root / ".cache" / f"{label}-{name}.done"
    shape = (len(paths), rules.channels, *((rules.size,) * 2 if isinstance(rules.size, int) else rules.size))
    census = _complete(path, done)
    if census is None:
        census = Census()
        chunks = _chunks(paths, label, rules, census, key, remedy)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_suffix(f".{os.getpid()}.part")
            file = scratch.open("wb")
        except OSError:
            return np.concatenate(list(chunks)), census
        try:
            with file:
                header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for chunk in chunks:
                    file.write(chunk.tobytes())
            scratch.replace(path)
            done.write_text(json.dumps({"bytes": path.stat().st_size, "census": census.facts()}), encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"paths.data: cannot write {np.prod(shape) / 2**20:,.0f} MiB of decoded images to {path} "
                f"({error.strerror}); free space, or set paths.data to a folder on another disk"
            ) from error
        finally:
            scratch.unlink(missing_ok=True)
    large = path.stat().st_size > RESIDENT
    array: NDArray[np.uint8] = np.load(path, mmap_mode="c" if large else None)
    return array, census


def _complete(path: Path, done: Path) -> Census | None:
    try:
        record = json.loads(done.read_text(encoding="utf-8"))
        whole = record["bytes"] == path.stat().st_size
        census = Census(**record["census"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    census.kinds = Counter(census.kinds)
    return census if whole else None


def _chunks(
    paths: Sequence[Path], label: str, rules: Rules, census: Census, key: str, remedy: str
) -> Iterator[NDArray[np.uint8]]:
    """The images, some at a time, counted in `census`; at the end UserError with all files that cannot be read."""

    def one(path: Path) -> tuple[NDArray[np.uint8], Seen] | Exception:
        try:
            return pixels.read(path, rules)
        except Exception as error:  # PIL raises many kinds on damaged files
            return error

    damaged: list[tuple[Path, Exception]] = []
    with (
        _bounded(rules.max_pixels),
        ThreadPoolExecutor(os.cpu_count()) as workers,
        bar(f"decode {label}", len(paths), "image") as progress,
    ):
        for start in range(0, len(paths), _CHUNK):
            part = paths[start : start + _CHUNK]
            results = list(workers.map(one, part))
            damaged += [(path, made) for path, made in zip(part, results, strict=True) if isinstance(made, Exception)]
            if not damaged:
                read = [made for made in results if not isinstance(made, Exception)]
                for image, seen in read:
                    census.add(seen, image)
                yield np.stack([image for image, _ in read])
            progress.update(len(part))
    if damaged:
        raise UserError(*_complaints(damaged, len(paths), key, remedy))


@contextmanager
def _bounded(max_pixels: int) -> Iterator[None]:
    """The decoder's own limit, which counts twice as an error, set to ours."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max(1, max_pixels // 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _complaints(damaged: Iterable[tuple[Path, Exception]], total: int, key: str, remedy: str) -> list[str]:
    """One problem for each thing to do about files: a rule's setting, or files that are damaged."""
    refused: dict[tuple[str, str], list[str]] = {}
    for path, error in damaged:
        reason = str(error).removesuffix(f" {str(path)!r}").replace("\n", " ") or type(error).__name__
        if isinstance(error, RefusedError):
            group, _, rest = key.partition(".")
            ours = group == "dataset" and rest == "path"
            about = f"dataset.{error.setting}" if ours else key, error.remedy if ours else remedy
            refused.setdefault(about, []).append(f"{path} {reason}")
        else:
            refused.setdefault((key, remedy), []).append(f"{path} is not a readable image ({reason})")
    return [
        f"{about}: {f'{len(items):,} of {total:,} files: ' if len(items) > 1 else ''}{some(items)}; {todo}"
        for (about, todo), items in refused.items()
    ]
