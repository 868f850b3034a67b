"""A defence: the device sends its feature with some of the channels in another order each time."""

from __future__ import annotations

import torch
from torch import Tensor

from splitpriv.defenses.base import Defense
from splitpriv.types import Fraction


class Shuffle(Defense):
    """A fresh permutation of a `share` of the channels of z (N, C, ...) for every release, in training and deployed."""

    version = 1  # bump it where an edit elsewhere changes numbers: the source of this package is in keys anyhow

    def __init__(self, *, share: Fraction) -> None:
        super().__init__()
        self.share = share

    def after_edge(self, z: Tensor) -> Tensor:
        moved, rows = round(self.share * z.shape[1]), torch.arange(len(z), device=z.device)[:, None]
        order = torch.rand(len(z), moved, device=z.device).argsort(1)  # of each image its own
        return torch.cat([z[rows, order], z[:, moved:]], 1)

    def expected(self, z: Tensor) -> Tensor:
        moved = round(self.share * z.shape[1])
        return torch.cat([z[:, :moved].mean(1, keepdim=True).expand_as(z[:, :moved]), z[:, moved:]], 1)
