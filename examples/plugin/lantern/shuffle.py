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
        channels = z.shape[1]
        moved = round(self.share * channels)
        order = torch.arange(channels, device=z.device)
        order[:moved] = order[torch.randperm(moved, device=z.device)]
        return z[:, order]
