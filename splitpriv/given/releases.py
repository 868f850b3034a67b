"""Releases that a device sent and somebody recorded: read, and laid beside the images that they are of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv.data.reading import shown, some
from splitpriv.given.images import Pictures, tensor
from splitpriv.types import UserError, typed

FORM = "numpy.savez(FILE, releases=..., with images=... or files=... beside them where they are known)"
LOOKED_AT, SHUFFLES = 256, 199
FEW = 8  # pairs that say nothing of their order


@dataclass(frozen=True)
class Recorded:
    """What a device sent: `releases` (N, *shape) as floats, `width` bytes of a value as recorded.

    `images` (N, C, H, W) or `files`, a name for each ("" where unknown), say what they are of; None: nothing says it.
    """

    releases: Tensor
    width: int
    images: Tensor | None
    files: tuple[str, ...] | None
    name: str = "releases"


def recorded(path: Path | str) -> Recorded:
    """Read a .npz with `releases`, and perhaps `images` or `files`; raise UserError for anything else."""
    path = typed(path, "--releases")
    if path.suffix.lower() != ".npz" or not path.is_file():
        what = "is not there" if not path.exists() else "is no .npz"
        raise UserError(f"--releases: {shown(path)} {what}; save one with {FORM}")
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except Exception as error:  # whatever a damaged file makes of its reader
        raise UserError(f"--releases: {shown(path)} cannot be read ({error}); save one with {FORM}") from error
    if "releases" not in arrays:
        raise UserError(
            f"--releases: {shown(path)} has no array releases, but {some(sorted(arrays))}; save it with {FORM}"
        )
    values = arrays["releases"]
    if values.ndim < 2 or not values.size or values.dtype.kind not in "fiu":
        raise UserError(f"--releases: releases are {values.dtype} {values.shape}; give numbers (N, ...), one row each")
    releases = torch.from_numpy(values.astype(np.float32))
    if broken := int((~releases.flatten(1).isfinite()).any(1).sum()):
        raise UserError(f"--releases: {broken} of {len(releases)} releases hold NaN or infinities; take them out")
    for name in ("images", "files"):
        if name in arrays and len(np.atleast_1d(arrays[name])) != len(releases):
            raise UserError(f"--releases: {len(releases)} releases beside {len(np.atleast_1d(arrays[name]))} {name}; "
                            "give one for each")  # fmt: skip
    images = tensor(arrays["images"], "--releases: images") if "images" in arrays else None
    files = tuple(str(name) for name in np.atleast_1d(arrays["files"])) if "files" in arrays else None
    if files is not None and arrays["files"].dtype.kind not in "US":
        raise UserError(f"--releases: files are {arrays['files'].dtype}; give the name of each release's image as text")
    return Recorded(releases, values.dtype.itemsize, images, files, path.name)


def beside(sent: Recorded, pictures: Sequence[tuple[str, Pictures]]) -> list[tuple[Pictures, Tensor]]:
    """For each of some folders (option, pictures), those of its pictures whose release was recorded, and the releases.

    By name where the recording has names: that of a file, or its path in the folder or beside it. Else releases are
    those of all pictures, in the order of their names, one folder after the other. Raises UserError where counts
    differ, a name is in no folder or is that of several pictures, and for a folder of which nothing was recorded.
    """
    if sent.files is None:
        counts = [len(held) for _, held in pictures]
        if sum(counts) != len(sent.releases):
            told = " and ".join(f"{len(held)} images in {option}" for option, held in pictures)
            raise UserError(f"--releases: {len(sent.releases)} releases for {told}; give one for each, in the "
                            "order of their names, or the name of each in an array files")  # fmt: skip
        parts = sent.releases.split(counts)
        return [(held, part) for (_, held), part in zip(pictures, parts, strict=True)]
    places = _places([held for _, held in pictures])
    named = [(name, row) for row, name in enumerate(sent.files) if name]
    if lost := [name for name, _ in named if name not in places]:
        where = " or ".join(option for option, _ in pictures)
        raise UserError(f"--releases: {len(lost)} names in files are of no image in {where} ({some(lost, 3)}); "
                        "correct them")  # fmt: skip
    for name, _ in named:
        if len(found := [path for path, _ in places[name]]) > 1:
            remedy = "give the path" if len(set(found)) > 1 else "rename a folder, and give the path"
            raise UserError(f"--releases: {shown(name)} in files may be {some(found, 3)}; {remedy}, for all such names")
    rows: dict[tuple[int, int], int] = {}
    if twice := [name for name, row in named if rows.setdefault(places[name][0][1], row) != row]:
        raise UserError(f"--releases: {some(twice, 3)} in files more than once; give each image one release")
    out = []
    for at, (option, held) in enumerate(pictures):
        pairs = sorted((image, row) for (folder, image), row in rows.items() if folder == at)
        if not pairs:
            raise UserError(
                f"{option}: no name in files of --releases is of an image there; name some, or leave it out"
            )
        image, row = torch.tensor(pairs, dtype=torch.long).T
        out.append((held.take(image), sent.releases[row]))
    return out


def _places(folders: Sequence[Pictures]) -> dict[str, list[tuple[str, tuple[int, int]]]]:
    """What a name may mean: the pictures (path from the folder's name on, (folder, index)) that bear it."""
    places: dict[str, list[tuple[str, tuple[int, int]]]] = {}
    for at, held in enumerate(folders):
        for index, file in enumerate(held.files):
            path = f"{held.name}/{file}"
            for name in {path, file, Path(file).name}:
                places.setdefault(name, []).append((path, (at, index)))
    return places


def require_order(images: Tensor, releases: Tensor, files: Sequence[str] = ()) -> None:
    """Raise UserError where nothing relates releases (N, *shape) to images (N, C, H, W) in this order: most likely it
    is a wrong one, and every number that follows would be too good."""
    if len(images) < FEW or related(images, releases):
        return
    natural = sorted(range(len(files)), key=lambda i: _numbers(files[i]))
    if natural != list(range(len(files))) and related(images[natural], releases):
        first, later = next((files[j], files[i]) for i, j in enumerate(natural) if i != j)
        raise UserError(
            f"--releases: are in the order of numbers in names ({first} before {later}), and images in that of "
            "letters; give the name of each in an array files"
        )
    raise UserError(
        "--releases: nothing relates them to the images in this order; give the name of each release's image in an "
        "array files, or add --paired where the order is right and the device sends nothing"
    )


def related(images: Tensor, releases: Tensor) -> bool:
    """Whether images near one another have releases that are, more than in any of many shuffles (Mantel 1967)."""
    at = torch.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).long()
    x = images[at].float()
    x = F.adaptive_avg_pool2d(x, (min(16, x.shape[2]), min(16, x.shape[3]))).flatten(1)
    r = releases[at].flatten(1).float()
    r = (r - r.mean(0)) / r.std(0).clamp_min(1e-6 * float(r.abs().max()) + 1e-12)
    a, b = (torch.cdist(part, part) for part in (x, r))
    apart = ~torch.eye(len(at), dtype=torch.bool)
    a = torch.where(apart, a - a[apart].mean(), 0)
    b = torch.where(apart, b - b[apart].mean(), 0)
    draw = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(at), generator=draw) for _ in range(SHUFFLES)]
    return bool((a * b).sum() > max(float((a * b[order][:, order]).sum()) for order in orders))


def _numbers(name: str) -> list[tuple[int, str]]:
    """A name as people order it: runs of digits by their value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
