"""Dropout of features as a defence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv.defenses.base import Defense
from splitpriv.types import Rate


class Dropout(Defense):
    """Each entry of z is zeroed with probability `rate`, without the usual 1/(1 − rate) (He et al. 2020, §V).

    A fresh mask for every release, at deployment too, whatever the module's mode: the loss of information is the point.
    """

    version = 2
    adaptive = frozenset({"draws"})

    strength: ClassVar[Mapping[str, str]] = {"rate": "interval(0.02, 0.95)"}

    def __init__(self, *, rate: Rate) -> None:
        super().__init__()
        self.rate = rate

    def after_edge(self, z: Tensor) -> Tensor:
        return z.masked_fill(torch.rand_like(z) < self.rate, 0.0)  # a product would keep the sign, as -0.0

    def expected(self, z: Tensor) -> Tensor:
        return (1 - self.rate) * z

    def gap(self, z: Tensor, release: Tensor) -> Tensor:
        """Entries that arrived tell z; zeros do, too, as far as more arrive than the mask makes: z has such itself."""
        seen = self.present(release)
        zeros = (~seen).flatten(1).double().mean(1)
        chance = 3 * math.sqrt(self.rate * (1 - self.rate) / release[0].numel())
        own = (zeros - self.rate - chance).clamp_min(0) / ((1 - self.rate) * zeros).clamp_min(1e-12)
        share = own.sqrt().to(z.dtype).view(-1, *[1] * (z.dim() - 1))
        return torch.where(seen, z - release, share * z)

    def present(self, release: Tensor) -> Tensor:
        return release != 0
