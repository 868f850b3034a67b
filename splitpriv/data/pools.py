"""Pools made from one array of images: in memory, or read batch by batch from a file that is larger than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitpriv.data.base import Split


class Mapped(Split):
    """A split whose images stay in a memory-mapped array (M, C, H, W); `rows` (N,) says which of them are ours.

    `x` reads only what it is asked for. `images` is the same tensor as in any other split, and costs reading all of it.
    """

    def __init__(self, array: Tensor, rows: Tensor, y: Tensor, ids: Tensor, attributes: Mapping[str, Tensor]) -> None:
        for name, value in {"array": array, "rows": rows, "y": y, "ids": ids, "attributes": attributes}.items():
            object.__setattr__(self, name, value)

    array: Tensor
    rows: Tensor

    @property
    def images(self) -> Tensor:
        return self.array[self.rows]

    def pixels(self, index: Tensor | slice) -> Tensor:
        index = index.to(self.rows.device) if isinstance(index, Tensor) else index
        return self.array[self.rows[index]].to(self.y.device, non_blocking=True)

    def take(self, index: Tensor | slice) -> Mapped:
        attributes = {k: v[index] for k, v in self.attributes.items()}
        return Mapped(self.array, self.rows[index], self.y[index], self.ids[index], attributes)

    def to(self, device: torch.device | str, keep_images: bool = False) -> Split:
        attributes = {k: v.to(device) for k, v in self.attributes.items()}
        if keep_images:
            return Mapped(self.array, self.rows, self.y.to(device), self.ids.to(device), attributes)
        return Split(self.images.to(device), self.y.to(device), self.ids.to(device), attributes)


def joined(parts: Sequence[Split]) -> Split:
    """The images of several splits of one data set, one split after the other."""
    first = parts[0]
    y, ids = torch.cat([part.y for part in parts]), torch.cat([part.ids for part in parts])
    attributes = {name: torch.cat([part.attributes[name] for part in parts]) for name in first.attributes}
    mapped = [part for part in parts if isinstance(part, Mapped)]
    if isinstance(first, Mapped) and len(mapped) == len(parts):
        return Mapped(first.array, torch.cat([part.rows for part in mapped]), y, ids, attributes)
    return Split(torch.cat([part.images for part in parts]), y, ids, attributes)


def hold_out(count: int, share: float, seed: int) -> tuple[Tensor, int]:
    """A seeded order of `count` images and how many of them, from the front, make the train pool.

    Drawn from numpy's legacy generator, whose stream is frozen: the pools are the same under every version.
    """
    order = torch.from_numpy(np.random.RandomState(seed).permutation(count).astype(np.int64))
    return order, count - round(share * count)


def pools(
    images: NDArray[np.uint8] | Tensor,
    y: Tensor,
    attributes: Mapping[str, Tensor],
    train: int,
    order: Tensor | None = None,
) -> dict[str, Split]:
    """Pool "train" of the first `train` images in `order` (None: as they come), pool "test" of the rest.

    ids count on from the train pool to the test pool, so that no two images of a data set share one.
    """
    count = len(y)
    ids = torch.arange(count)
    if order is not None:
        ids = torch.empty_like(ids).scatter_(0, order, ids)
    whole: Split
    if isinstance(images, np.memmap):
        whole = Mapped(torch.from_numpy(images), torch.arange(count), y, ids, attributes)
    else:
        tensor = images if isinstance(images, Tensor) else torch.from_numpy(images)
        whole = Split(tensor, y, ids, attributes)
    if order is None:
        return {"train": whole.take(slice(0, train)), "test": whole.take(slice(train, count))}
    return {"train": whole.take(order[:train]), "test": whole.take(order[train:])}
