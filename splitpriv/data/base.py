"""What a data set is: published pools of labelled images, and the four named splits made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from splitpriv.data import files
from splitpriv.data.reading import Reading
from splitpriv.types import LABEL, Spec, UserError

ROUNDED = 1e-4  # by how much a pixel may leave [0, 1]


def unit(images: Tensor) -> Tensor:
    """Images as floats in [0, 1]; those that are floats already stay as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


@dataclass(frozen=True)
class Split:
    """Labelled images that live together as tensors, small sets on the device.

    `images` is (N, C, H, W), uint8, or float32 already in [0, 1]; `y` (N,) int64; `attributes` name -> (N,) int64;
    `ids` (N,) int64 names each image within the data set, so that disjointness can be asserted.
    """

    images: Tensor
    y: Tensor
    ids: Tensor
    attributes: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def x(self, index: Tensor | slice) -> Tensor:
        """Images at `index` as floats in [0, 1] on the labels' device, (n, C, H, W)."""
        return unit(self.pixels(index))

    def pixels(self, index: Tensor | slice) -> Tensor:
        """Images at `index` as they are stored, on the labels' device, (n, C, H, W)."""
        if isinstance(index, slice):
            picked = self.images[index]
        else:  # whole images at a time: twenty times faster than indexing
            picked = self.images.index_select(0, index.to(self.images.device))
        return picked.to(self.y.device, non_blocking=True)

    def take(self, index: Tensor | slice) -> Split:
        """The sub-split at `index`, in that order."""
        return Split(
            self.images[index], self.y[index], self.ids[index], {k: v[index] for k, v in self.attributes.items()}
        )

    def to(self, device: torch.device | str, keep_images: bool = False) -> Split:
        """A copy on `device`; with `keep_images` the images stay where they are and travel batch by batch."""
        images = self.images if keep_images else self.images.to(device)
        attributes = {k: v.to(device) for k, v in self.attributes.items()}
        return replace(self, images=images, y=self.y.to(device), ids=self.ids.to(device), attributes=attributes)


Duplicates = Literal["group", "flag"]
Signal = Callable[[Tensor], Tensor]  # images (N, C, H, W) -> what a device sends of them, before its noise


class Dataset:
    """A data set by name: `spec` is known at once, `pools` reads files.

    Subclasses take their settings as keyword-only arguments from `conf/dataset/<name>.yaml`.
    """

    spec: Spec
    version: int = 1
    reading: Reading | None = None  # of files that people bring
    duplicates: Duplicates = "flag"  # what becomes of copies on several sides unless the protocol says it
    ships: ClassVar[bool] = False  # whether its images come with the package, or are drawn by it
    unkeyed: ClassVar[tuple[str, ...]] = ()  # settings of which keys hold the `content` instead
    crop: int = 0  # padding of the random crop, pixels
    flip: bool = False
    rotation: float = 0.0  # degrees either way

    @property
    def origin(self) -> str:
        """Whose images these are: two data sets of one origin show the same ones, whatever they make of them."""
        return type(self).__name__

    def content(self, root: Path) -> int | str:
        """What keys hold of the files under `root`: nothing more than the version where their content is verified."""
        return self.version

    def label(self, y: int) -> str:
        """What class `y` is called."""
        return str(y)

    def pools(self, root: Path) -> dict[str, Split]:
        """Read the published pools "train" and "test" from under `root`; raise UserError if they are not there."""
        raise NotImplementedError

    def read(self, root: Path) -> dict[str, Split]:
        """The `pools`; UserError also for what the system does not give, and for what `spec` does not say."""
        try:
            pools = self.pools(root)
        except OSError as error:
            raise UserError(files.unreadable(error)) from error
        if problems := [f"dataset: {type(self).__name__}.pools: {told}" for told in _unlike(pools, self.spec)]:
            raise UserError(*problems)
        if strange := [name for name in map(self.label, range(self.spec.classes)) if not isinstance(name, str)]:
            raise UserError(f"dataset: {type(self).__name__}.label gives {strange[0]!r:.80}; return a text")
        return pools

    def least_error(self, root: Path, signal: Signal, std: Tensor | float) -> dict[str, float]:
        """By name, the MSE that no attack on one release `signal` + N(0, diag(std^2)) can beat, where the law of x is
        known ("..._mmse"; its standard error "..._mmse_error"); empty where it is not."""
        return {}

    def fetch(self, root: Path) -> None:
        """Download into `root` and verify; raise UserError, with what to put where, when there is no network."""

    def verify(self, root: Path) -> str:
        """One line that says what was found and checked; raise UserError if a file is missing or damaged."""
        pools = self.read(root)
        return ", ".join(f"{len(split):,} {name}" for name, split in pools.items())


def _unlike(pools: Any, spec: Spec) -> Iterator[str]:
    """Where pools are not two splits that fit the spec, on which networks, attacks and scores rely, and the remedy."""
    if not isinstance(pools, Mapping) or not {"train", "test"} <= set(pools):
        told = f"a dict of {', '.join(map(str, pools))}" if isinstance(pools, Mapping) else f"a {type(pools).__name__}"
        yield f'gives {told}; return {{"train": Split, "test": Split}}'
        return
    for name, pool in pools.items():
        if not isinstance(pool, Split):
            yield f"gives a {type(pool).__name__} as {name}; give a splitpriv.data.base.Split"
            continue
        own = pool.attributes if isinstance(pool.attributes, Mapping) else {}
        if lacking := sorted(set(spec.attributes) - set(own)):
            yield f"{name} lacks {', '.join(lacking)}, which the spec has as attributes; add them, or correct the spec"
        count = len(pool.y) if getattr(pool.y, "ndim", 1) and hasattr(pool.y, "__len__") else 0
        values = {LABEL: spec.classes, "ids": None, **dict.fromkeys(own), **spec.attributes}
        for what, column in {LABEL: pool.y, "ids": pool.ids, **own}.items():
            yield from (f"{name}: values of {what} {told}" for told in _no_column(column, count, values[what]))
        yield from (f"{name}: images {told}" for told in _no_images(pool, count, spec))


def _no_column(column: Any, count: int, values: int | None) -> Iterator[str]:
    if not isinstance(column, Tensor) or column.dtype != torch.int64 or tuple(column.shape) != (count,):
        yield f"are {_said(column)}; make them a tensor of whole numbers, one for each image, in torch.int64"
    elif values is not None and count and not 0 <= column.min() <= column.max() < values:
        yield (f"reach from {int(column.min())} to {int(column.max())}, and the spec has {values} values; count from 0 "
               f"to {values - 1}, or correct the spec")  # fmt: skip


def _no_images(pool: Split, count: int, spec: Spec) -> Iterator[str]:
    held = vars(pool).get("array")  # of a file that is larger than memory, and not to be read as a whole
    images = pool.images if held is None else held
    fits = isinstance(images, Tensor) and images.dtype in (torch.uint8, torch.float32) and not images.requires_grad
    if not fits or tuple(images.shape[1:]) != tuple(spec.image) or (held is None and len(images) != count):
        yield (f"are {_said(images)} of {count} labels; make them (N, {', '.join(map(str, spec.image))}), as the spec "
               "says, in torch.uint8, or in torch.float32 in [0, 1], and detached")  # fmt: skip
    elif images.is_floating_point() and count and spec.entropy is None:  # a known law may leave [0, 1]
        low, high = map(float, images.aminmax())
        if not (low >= -ROUNDED and high <= 1 + ROUNDED):
            yield f"reach from {low:.3g} to {high:.3g}; bring them to [0, 1], and leave it to the network to normalise"


def _said(value: Any) -> str:
    return f"{tuple(value.shape)} in {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
