"""Linear dependence of every value of one batch on every value of another."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-12


def pearson(x: Tensor, z: Tensor) -> Tensor:
    """The root mean square of Pearson's r over all pairs of a value of x (N, ...) and one of z (N, ...), in [0, 1].

    A differentiable scalar; a constant value is uncorrelated. Of independent batches about 1/sqrt(N - 1), not 0.
    """
    with torch.autocast(z.device.type, enabled=False):
        a, b = _standard(x), _standard(z)
        pairs = a.shape[1] * b.shape[1] * len(a) ** 2
        return (((a @ a.mT) * (b @ b.mT)).sum().clamp(min=0) / pairs + _TINY).sqrt()  # |aᵀb|² without the pairs


def _standard(v: Tensor) -> Tensor:
    v = v.flatten(1).float()
    v = v - v.mean(0)
    return v / (v.square().mean(0) + _TINY).sqrt()
