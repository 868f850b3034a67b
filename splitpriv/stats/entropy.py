"""Differential entropy from the distances between neighbours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

EULER = 0.5772156649015329


def knn_entropy(z: Tensor, k: int, group: Tensor | None = None) -> Tensor:
    """H(z) in nats of N rows z (N, ...), D values each: a differentiable scalar, from each row's k-th neighbour.

    Kozachenko & Leonenko 1987: D mean(log r) + log V_D + ψ(N) − ψ(k), V_D the volume of the unit ball. With `group`
    (N,), that of z given its group: neighbours are those of the same; rows of groups of k or fewer are left out. An
    order, no amount, in many dimensions. Zero where no row counts; equal rows are at the smallest positive distance.
    """
    z = z.flatten(1)
    n, size = z.shape
    same = torch.ones(n, n, dtype=torch.bool, device=z.device) if group is None else group[:, None] == group
    count = same.sum(1)
    counted = (count > k).to(z.dtype)
    apart = ~same | torch.eye(n, dtype=torch.bool, device=z.device)
    norms = z.square().sum(1)
    squared = (norms[:, None] + norms - 2 * z @ z.mT).masked_fill(apart, torch.inf)
    near = squared.topk(max(1, min(k, n - 1)), largest=False).values[:, -1]
    near = torch.where(counted > 0, near, 1.0).clamp(min=torch.finfo(z.dtype).eps)
    ball = 0.5 * size * math.log(math.pi) - math.lgamma(0.5 * size + 1)
    digamma_k = sum(1 / i for i in range(1, k)) - EULER
    each = 0.5 * size * near.log() + ball + torch.digamma(count.to(z.dtype)) - digamma_k
    return (each * counted).sum() / counted.sum().clamp(min=1)
