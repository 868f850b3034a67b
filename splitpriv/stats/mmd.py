"""How far apart two laws are, from a sample of each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0)  # of the mean squared distance, as FORA has them


def mk_mmd(a: Tensor, b: Tensor, multiples: Sequence[float] = MULTIPLES) -> Tensor:
    """The squared maximum mean discrepancy of a (N, ...) and b (M, ...), biased, under a sum of Gaussian kernels.

    k(x, y) = sum over m of exp(-|x - y|^2 / (m s)), s the mean squared distance between two different points of both
    samples together, which carries no gradient. 0 where the samples are equal, at most twice the number of kernels.
    """
    points = torch.cat([a.flatten(1), b.flatten(1)])
    square = points.square().sum(1)
    far = (square[:, None] + square[None] - 2 * points @ points.T).clamp_min(0)
    scale = far.detach().sum() / (len(points) ** 2 - len(points))
    scale = scale.clamp_min(torch.finfo(far.dtype).tiny)
    kernel = torch.stack([(-far / (m * scale)).exp() for m in multiples]).sum(0)
    n = len(a)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
