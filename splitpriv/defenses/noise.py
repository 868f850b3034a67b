"""Additive noise on z, uncalibrated as in the papers; `ldp` clips first and states a guarantee."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv.defenses.base import Defense
from splitpriv.stats.dp import laplace_like
from splitpriv.types import NonNegative


class Noise(Defense):
    """Gaussian noise: z + σε, fresh for every release, in training and at deployment (He et al. 2020; numbers of
    equations not at hand).

    `sigma` is the standard deviation in units of z.

    Open: nothing bounds z, so that no sigma is a guarantee (`ldp` clips first), and an edge that learns beside it may
    send a larger z. Repeated releases average it away.
    """

    additive_gaussian = True
    adaptive = frozenset({"draws"})

    strength: ClassVar[Mapping[str, str]] = {"sigma": "tag(log, interval(0.01, 3.0))"}

    def __init__(self, *, sigma: NonNegative) -> None:
        super().__init__()
        self.sigma = sigma

    @property
    def noise_std(self) -> float:
        return self.sigma

    def after_edge(self, z: Tensor) -> Tensor:
        return z + self.sigma * torch.randn_like(z)

    def expected(self, z: Tensor) -> Tensor:
        return z


class Laplace(Defense):
    """Laplace noise of scale b on z, fresh for every release (He et al. 2020; numbers of equations not at hand).

    Its standard deviation is b·√2. Open: as of `Noise`; the ε of public codes, b = 1/ε without clipping, is none.
    """

    adaptive = frozenset({"draws"})

    strength: ClassVar[Mapping[str, str]] = {"scale": "tag(log, interval(0.01, 3.0))"}

    def __init__(self, *, scale: NonNegative) -> None:
        super().__init__()
        self.scale = scale

    @property
    def noise_std(self) -> float:
        return self.scale * 2**0.5

    def after_edge(self, z: Tensor) -> Tensor:
        return z + self.scale * laplace_like(z)

    def expected(self, z: Tensor) -> Tensor:
        return z
