"""Two releases by two paths: a coarse one for where it is trusted, and what is left of z, with noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.divided import Divided, Holds
from splitpriv.types import Count, NonNegative, Shape, Spec


class DualPath(Divided):
    """z = low + rest: `low`, the mean over blocks of `factor` positions a side, goes one way (first), rest + σε the
    other (second); the cloud adds them up. After Delta (Niu et al., CVPR 2024; numbers of equations not at hand), whose
    asymmetric flows keep the information-sensitive low-dimensional part in a trusted place and send the residual with
    noise.

    Blocks are of positions of a feature map, of consecutive tokens, or of a vector's entries. `holds`: the path that
    the adversary sees, second (the public one) by default; colluders see both, and their attack is the one to believe
    where nobody vouches for the first path. Noise is fresh for every release.

    Open: Delta finds its low-dimensional part by SVD over channels and DCT over positions, has networks of their own
    for both parts, and calibrates σ to (ε, δ)-DP; here the cloud is one network.
    """

    strength: ClassVar[Mapping[str, str]] = {"sigma": "tag(log, interval(0.01, 3.0))"}

    def __init__(self, *, sigma: NonNegative, factor: Count, holds: Holds) -> None:
        super().__init__(holds)
        self.sigma, self.factor = sigma, factor

    @property
    def adaptive(self) -> frozenset[str]:  # type: ignore[override]
        return super().adaptive | {"draws"}

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        super().attach(model, spec, shape)
        self.bits = 16 + 16 / self.factor ** (2 if len(shape) == 3 else 1)

    def low(self, z: Tensor) -> Tensor:
        """The coarse part of z, in its shape."""
        if z.dim() == 2:
            return self._means(z[:, None, None], (1, self.factor))[:, 0, 0]
        if z.dim() == 3:
            return self._means(z[:, None], (self.factor, 1))[:, 0]
        return self._means(z, (self.factor, self.factor))

    @staticmethod
    def _means(z: Tensor, block: tuple[int, int]) -> Tensor:
        """The mean over the block (rows, columns) that a position lies in, those at the ends being smaller."""
        coarse = F.avg_pool2d(z, block, ceil_mode=True)
        wide = coarse.repeat_interleave(block[0], 2).repeat_interleave(block[1], 3)
        return wide[:, :, : z.shape[2], : z.shape[3]]

    def divide(self, z: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(z)
        return low, z - low + self.sigma * torch.randn_like(z)

    def unite(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second

    def expected(self, z: Tensor) -> Tensor:
        low = self.low(z)
        return torch.cat((low, z - low), self.axis)
