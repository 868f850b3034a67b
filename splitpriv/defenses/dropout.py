"""Dropout of features as a defence."""

from __future__ import annotations

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

    adaptive = frozenset({"draws"})

    strength: ClassVar[Mapping[str, str]] = {"rate": "interval(0.05, 0.95)"}

    def __init__(self, *, rate: Rate) -> None:
        super().__init__()
        self.rate = rate

    def after_edge(self, z: Tensor) -> Tensor:
        return z.masked_fill(torch.rand_like(z) < self.rate, 0.0)  # a product would keep the sign, as -0.0

    def expected(self, z: Tensor) -> Tensor:
        return (1 - self.rate) * z
