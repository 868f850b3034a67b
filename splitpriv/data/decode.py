"""Image files decoded once: cropped to a square, resized, and kept as one array."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitpriv.progress import bar
from splitpriv.types import UserError

RESIDENT = 2 << 30  # bytes; larger arrays are memory-mapped
_CHUNK = 256
_MODE = {1: "L", 3: "RGB"}


def stat_all(paths: Sequence[Path], key: str, remedy: str) -> list[tuple[int, int]]:
    """(size, time of change) of every file; UserError that names the first one missing."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"{key}: {path} is missing; {remedy}") from error
        found.append((status.st_size, status.st_mtime_ns))
    return found


def decoded(
    paths: Sequence[Path], root: Path, *, label: str, size: int | tuple[int, int], channels: int, key: str, remedy: str
) -> NDArray[np.uint8]:
    """All `paths` as uint8 (N, channels, size, size), from `root`/.cache where these very files were decoded before.

    Images are cropped to a centred square; with `size` (height, width) they are not, and the whole image is stretched.
    Arrays over 2 GiB come memory-mapped. Where `root` cannot be written, every call decodes again. UserError names
    config key `key`, the unreadable file and `remedy`.
    """
    stats = stat_all(paths, key, remedy)
    listing = [1, size, channels, [[str(p), *s] for p, s in zip(paths, stats, strict=True)]]
    name = hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]
    path, done = root / ".cache" / f"{label}-{name}.npy", root / ".cache" / f"{label}-{name}.done"
    shape = (len(paths), channels, *((size, size) if isinstance(size, int) else size))
    chunks = _chunks(paths, label, size, channels, key, remedy)
    if not _complete(path, done):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_suffix(f".{os.getpid()}.part")
            file = scratch.open("wb")
        except OSError:
            return np.concatenate(list(chunks))
        try:
            with file:
                header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for chunk in chunks:
                    file.write(chunk.tobytes())
            scratch.replace(path)
            done.write_text(str(path.stat().st_size))
        except OSError as error:
            raise UserError(
                f"paths.data: cannot write {np.prod(shape) / 2**20:,.0f} MiB of decoded images to {path} "
                f"({error.strerror}); free space, or set paths.data to a folder on another disk"
            ) from error
        finally:
            scratch.unlink(missing_ok=True)
    large = path.stat().st_size > RESIDENT
    array: NDArray[np.uint8] = np.load(path, mmap_mode="c" if large else None)
    return array


def _complete(path: Path, done: Path) -> bool:
    try:
        return int(done.read_text()) == path.stat().st_size
    except (OSError, ValueError):
        return False


def _chunks(
    paths: Sequence[Path], label: str, size: int | tuple[int, int], channels: int, key: str, remedy: str
) -> Iterator[NDArray[np.uint8]]:
    def one(path: Path) -> NDArray[np.uint8]:
        try:
            return _decode(path, size, channels)
        except Exception as error:  # PIL raises many kinds on damaged files
            reason = str(error).removesuffix(f" {str(path)!r}") or type(error).__name__
            raise UserError(f"{key}: {path} is not a readable image ({reason}); {remedy}") from error

    with ThreadPoolExecutor(os.cpu_count()) as workers, bar(f"decode {label}", len(paths), "image") as progress:
        for start in range(0, len(paths), _CHUNK):
            yield np.stack(list(workers.map(one, paths[start : start + _CHUNK])))
            progress.update(min(_CHUNK, len(paths) - start))


def _decode(path: Path, size: int | tuple[int, int], channels: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert(_MODE[channels])
    box = (0, 0, image.width, image.height)
    if isinstance(size, int):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box, size = (left, top, left + side, top + side), (size, size)
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BICUBIC, box)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
