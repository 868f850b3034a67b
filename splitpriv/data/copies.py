"""Copies: which images of several splits are the same, or look the same, whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from splitpriv.data.base import Split
from splitpriv.data.pools import joined

SIDE = 16  # pixels of the thumbnails by which images look alike
ALIKE = 0.995  # correlation of thumbnails from which two images are one: JPEG, another size or brightness keep it
LOW = 4  # frequencies of the cosine transform, each way, by which candidates are found, as in pHash
FLAT = 1 / 255  # standard deviation of a thumbnail below which it shows nothing
ROUNDING = 1e-3  # of distances between thumbnails in half precision
_CHUNK, _ROWS, _PAIRS = 1024, 256, 65536

Index = NDArray[np.int64]


class Copies:
    """The distinct pictures of some splits: `which` says which one an image is, by role, (N,); `family` which of them
    look the same, directly or by way of others, (D,).
    """

    def __init__(self, splits: Mapping[str, Split]) -> None:
        seen = {id(split): _seen(split) for split in splits.values()}  # the adversary may hold the very split of train
        parts = [seen[id(split)] for split in splits.values()]
        digests = np.concatenate([digests for digests, _ in parts])
        _, first, which = np.unique(digests, return_index=True, return_inverse=True)
        ends = np.cumsum([len(split) for split in splits.values()])[:-1]
        self.which: dict[str, Index] = dict(zip(splits, np.split(which, ends), strict=True))
        self.family = _families(np.concatenate([looks for _, looks in parts])[first])

    def shared(self, a: str, b: str) -> tuple[int, int]:
        """How many images of `b` are in `a`, pixel for pixel, and how many more look like one that is."""
        same = np.isin(self.which[b], self.which[a])
        alike = np.isin(self.family[self.which[b]], self.family[self.which[a]])
        return int(same.sum()), int((alike & ~same).sum())


def _seen(split: Split) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
    """A fingerprint of the pixels of every image at 8 bits, (N,), and its thumbnail, (N, C, h, w), of mean 0 and length
    1; of length 0 where nothing is to be seen.
    """
    digests, looks = [], []
    for start in range(0, len(split), _CHUNK):
        x = split.x(slice(start, start + _CHUNK))
        pixels = (x * 255).round_().to(torch.uint8).cpu().contiguous().numpy()
        digests += [hashlib.blake2b(image.data, digest_size=8).digest() for image in pixels]
        looks.append(_thumbnails(x).cpu().half().numpy())
    return np.frombuffer(b"".join(digests), np.uint64), np.concatenate(looks)


def _thumbnails(x: Tensor) -> Tensor:
    small = F.adaptive_avg_pool2d(x, (min(SIDE, x.shape[2]), min(SIDE, x.shape[3])))
    small = small - small.mean((1, 2, 3), keepdim=True)
    spread = small.square().mean((1, 2, 3), keepdim=True).sqrt()
    return torch.where(spread > FLAT, small / (spread * small[0].numel() ** 0.5), 0)


def _families(looks: NDArray[np.float16]) -> Index:
    """The family of each thumbnail, (D,): those whose correlation reaches ALIKE.

    Low frequencies are no further apart than whole thumbnails, so that looking at those first misses none.
    """
    family = np.arange(len(looks))
    seen = np.flatnonzero(looks.any((1, 2, 3)))
    if len(seen) < 2:
        return family
    grey = looks[seen].sum(1, dtype=np.float32) / np.float32(looks.shape[1] ** 0.5)
    low = dctn(grey, axes=(1, 2), norm="ortho")[:, :LOW, :LOW].reshape(len(seen), -1)
    axis = low.var(0).argmax()
    order = low[:, axis].argsort()
    seen, low, flat = seen[order], low[order], looks[seen[order]].reshape(len(seen), -1)
    near = (2 - 2 * ALIKE) ** 0.5 + ROUNDING
    ends = np.searchsorted(low[:, axis], low[:, axis] + near, side="right")
    ones, power = np.ones(len(low), np.float32), np.square(low).sum(1)
    here, there = np.column_stack([-2 * low, power, ones]), np.column_stack([low, ones, power])  # to one product
    for start in range(0, len(seen), _ROWS):
        reach = slice(start, ends[min(start + _ROWS, len(seen)) - 1])
        one, other = np.nonzero(here[start : start + _ROWS] @ there[reach].T <= near**2)
        one, other = one[one < other], other[one < other]
        for at in range(0, len(one), _PAIRS):
            i, j = start + one[at : at + _PAIRS], start + other[at : at + _PAIRS]
            new = family[seen[i]] != family[seen[j]]  # a set of which all look the same has too many pairs to look at
            i, j = i[new], j[new]
            alike = np.einsum("nd,nd->n", flat[i], flat[j], dtype=np.float32) >= ALIKE
            if alike.any():
                family = _joined(family, seen[i[alike]], seen[j[alike]])
    return family


def _joined(family: Index, i: Index, j: Index) -> Index:
    """`family` (D,) with those of `i` and `j` (M,) made one."""
    links = np.append(np.arange(len(family)), i), np.append(family, j)
    graph = coo_array((np.ones(len(links[0]), bool), links), shape=(len(family),) * 2)
    label = connected_components(graph, directed=False)[1]
    return np.unique(label, return_index=True)[1][label]


def parted(splits: Mapping[str, Split]) -> tuple[dict[str, Split], int]:
    """`splits` with every family on one side, and how many images moved for that.

    A family that lies on several sides goes to the one of them that is shortest of its images, the largest first.
    """
    copies = Copies(splits)
    roles, families = list(splits), [copies.family[copies.which[role]] for role in splits]
    held = np.stack([np.bincount(family, minlength=copies.family.max() + 1) for family in families], 1)  # (F, roles)
    torn = np.flatnonzero((held > 0).sum(1) > 1)
    wanted, have = held.sum(0), held.sum(0) - held[torn].sum(0)
    home = np.full(len(held), -1)
    for family in torn[np.argsort(-held[torn].sum(1), kind="stable")]:
        home[family] = np.where(held[family] > 0, have / wanted, np.inf).argmin()
        have[home[family]] += held[family].sum()
    out, moved = {}, 0
    for i, role in enumerate(roles):
        parts = []
        for j, other in enumerate(roles):
            goes = home[families[j]]
            here = np.flatnonzero((goes == i) | ((goes == -1) & (i == j)))
            parts.append(splits[other].take(torch.from_numpy(here)))
            moved += len(here) * (i != j)
        out[role] = joined(parts)
    return out, moved
