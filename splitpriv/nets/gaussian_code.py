"""The layer of a variational bottleneck: from a feature to a Gaussian over codes, and a draw from it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.stats.vib import reparameterise


class GaussianCode(nn.Module):
    """(μ, a) = encode(h) in halves along `dim`, std = softplus(a − shift), z = μ + std·ε.

    In evaluation mode z = μ unless `sample_at_test`. Everything after `encode` is computed in float32.
    """

    def __init__(self, encode: nn.Module, dim: int, shift: float, sample_at_test: bool) -> None:
        super().__init__()
        self.encode, self.dim, self.shift, self.sample_at_test = encode, dim, shift, sample_at_test

    def moments(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the code of h, both of its shape."""
        mean, raw = self.encode(h).float().chunk(2, self.dim)
        return mean, F.softplus(raw - self.shift)

    def draw(self, mean: Tensor, std: Tensor) -> Tensor:
        """One code, or its mean where nothing is drawn."""
        return reparameterise(mean, std) if self.training or self.sample_at_test else mean

    def forward(self, h: Tensor) -> Tensor:
        return self.draw(*self.moments(h))
