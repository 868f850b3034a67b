"""Images without labels, brought to one size: a folder, an array in a file, or a tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from splitpriv.data.decode import decoded
from splitpriv.data.pixels import DARK, Rules
from splitpriv.data.reading import Reading, shown, some
from splitpriv.data.walk import walk
from splitpriv.types import UserError, typed

Size = int | tuple[int, int] | None
ENTRIES = 1_000_000
REMEDY = "replace it, or take it out"
ARRAYS = (".npy", ".npz")
GREY = (19595, 38470, 7471)  # of red, green and blue in 2^16 of luma, as Pillow counts them


@dataclass(frozen=True)
class Pictures:
    """Images (N, C, H, W), uint8 or floats in [0, 1], in the order of their names; `files` are those, or empty."""

    images: Tensor
    files: tuple[str, ...] = ()
    name: str = "images"

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor) -> Pictures:
        """Those at `index`."""
        files = tuple(self.files[i] for i in index.tolist()) if self.files else ()
        return Pictures(self.images[index], files, self.name)

    @property
    def digest(self) -> str:
        """Changes with their pixels and their order, whatever they are called."""
        text = f"{self.images.dtype} {tuple(self.images.shape)} ".encode()
        return hashlib.sha256(text + self.images.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def pictures(source: object, option: str, cache: Path, size: Size = None, channels: int | None = None) -> Pictures:
    """Read images. `size`: the side of a square that is cut from the middle, or (height, width); None: as they are.
    `channels`: 1 or 3; None: those of an array, and 3 of files.

    Raises UserError, which names `option`, for a folder without images, images of several sizes where no `size` is
    given, damaged files, and arrays that are no images.
    """
    if isinstance(source, Tensor | np.ndarray):
        return _resized(_array(source, option, channels), size)
    path = typed(str(source), option)
    if path.suffix.lower() in ARRAYS and path.is_file():
        return _resized(_array(_stored(path, option), option, channels), size)
    if not path.is_dir():
        what = "is no folder of images" if path.exists() else "is not there"
        raise UserError(f"{option}: {shown(path)} {what}; give a folder of images, or their array as .npy or .npz")
    try:
        found = walk(path, option, ENTRIES, Reading()).images
    except UserError as error:
        raise UserError(*(p.replace(f"{option}.path", option) for p in error.problems)) from error
    if not found:
        raise UserError(f"{option}: {shown(path)} holds no images; give a folder that does")
    names = ["/".join(parts) for parts in found]
    files = [path.joinpath(*parts) for parts in found]
    array, census = decoded(files, cache, label="audit", key=option, remedy=REMEDY,
                       rules=Rules(size or _common(files, names, option), channels or 3))  # fmt: skip
    if census.brightest < DARK:
        raise _dark(option, census.low, census.high)
    return Pictures(torch.from_numpy(np.ascontiguousarray(array)), tuple(names), path.name)


def _dark(option: str, low: float, high: float) -> UserError:
    return UserError(f"{option}: values from {low:.4g} to {high:.4g} show as black alone; give images of which the "
                     "brightest is near 255 as bytes, or 1 as floats")  # fmt: skip


def _common(files: Sequence[Path], names: Sequence[str], option: str) -> tuple[int, int]:
    """The (height, width) of all of them, read from their heads."""
    sizes: dict[tuple[int, int], str] = {}
    for file, name in zip(files, names, strict=True):
        try:
            with Image.open(file) as image:
                sizes.setdefault((image.height, image.width), name)
        except Exception:  # whatever a damaged file makes of its reader; decoding names all of them
            continue
    if len(sizes) > 1:
        told = some([f"{h}x{w} ({name})" for (h, w), name in sizes.items()], 3)
        raise UserError(f"{option}: images of {len(sizes)} sizes, {told}; add --size N, to which all are brought")
    return next(iter(sizes), (1, 1))


def _stored(path: Path, option: str) -> np.ndarray:
    try:
        held = np.load(path, allow_pickle=False)
        return np.asarray(held if isinstance(held, np.ndarray) else held["images"])
    except Exception as error:  # whatever a damaged file makes of its reader
        raise UserError(f"{option}: {shown(path)} holds no array called images ({error}); save one with "
                        "numpy.savez(FILE, images=...)") from error  # fmt: skip


def _array(values: Tensor | np.ndarray, option: str, channels: int | None) -> Pictures:
    """Images as they come, channels first or last, bytes or floats, with as many channels as are asked for."""
    images = tensor(values, option)
    if images.dim() == 3:
        images = images[:, None]
    if images.dim() != 4 or not images.numel():
        raise UserError(f"{option}: {tuple(images.shape)} are no images; give (N, C, H, W), N at least 1")
    if images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.dtype != torch.uint8:
        images = images.float()
        if not images.isfinite().all() or images.min() < 0 or images.max() > 1:
            raise UserError(f"{option}: values from {float(images.min()):.4g} to {float(images.max()):.4g} are no "
                            "images; give bytes, or floats in [0, 1]")  # fmt: skip
    if (brightest := float(images.max())) < (DARK if images.dtype == torch.uint8 else DARK / 255):
        raise _dark(option, float(images.min()), brightest)
    if channels in (1, 3) and images.shape[1] != channels:
        if images.shape[1] not in (1, 3):
            raise UserError(f"{option}: images of {images.shape[1]} channels are neither grey nor coloured; leave out "
                            "--channels, or give others")  # fmt: skip
        images = images.expand(-1, 3, -1, -1) if channels == 3 else _grey(images)
    return Pictures(images.detach().cpu().contiguous())


def tensor(values: Tensor | np.ndarray, option: str) -> Tensor:
    """Real numbers as a tensor; raise UserError, which names `option`, for names, dates, objects and the like."""
    try:
        made = torch.as_tensor(np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values)
    except (TypeError, ValueError) as error:  # no numbers, or in the order of another machine's bytes
        raise UserError(f"{option}: values are {values.dtype}; give bytes, or floats in [0, 1]") from error
    if made.is_complex():
        raise UserError(f"{option}: values are {values.dtype}; give bytes, or floats in [0, 1]")
    return made


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
    if images.dtype == torch.uint8:
        return ((images.int() * weights).sum(1, keepdim=True) + 2**15 >> 16).to(torch.uint8)
    return (images * (weights / 2**16)).sum(1, keepdim=True).clamp(0, 1)


def _resized(given: Pictures, size: Size) -> Pictures:
    wanted = (size, size) if isinstance(size, int) else size
    if wanted is None or tuple(given.images.shape[2:]) == wanted:
        return given
    x = given.images.float() / (255 if given.images.dtype == torch.uint8 else 1)
    return Pictures(F.interpolate(x, wanted, mode="bilinear", antialias=True).clamp(0, 1))
