"""The arithmetic of variational bottlenecks: Gaussian codes and how far they are from a standard normal."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-7  # inside the logarithm, as in the authors' code: a spread may underflow to zero


def kl_to_normal(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std²) ‖ N(0, 1)) of every entry, nats, in their shape: −½ (1 + 2 log std − mean² − std²).

    Its sum over a code, averaged over x, is an upper bound on I(x; code) (Alemi et al. 2017).
    """
    return -0.5 * (1 + 2 * (std + TINY).log() - mean.square() - std.square())


def reparameterise(mean: Tensor, std: Tensor) -> Tensor:
    """A draw from N(mean, std²) through which gradients reach both."""
    return mean + std * torch.randn_like(std)
