"""Closed forms for x ~ N(0, cov) released as z = W x + b + sigma e: what no attack can beat.

`cov` (d, d) is positive definite, `weight` (m, d), `sigma` > 0 a standard deviation; entropies are in nats. All is
computed in float64. The constant b moves z and changes none of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mmse(cov: Tensor, weight: Tensor, sigma: float) -> float:
    """Mean squared error per dimension of E[x|z], the best of all reconstructions: tr Cov(x|z) / d."""
    return float(_posterior(cov, weight, sigma).diagonal().mean())


def entropy(cov: Tensor) -> float:
    """Differential entropy H(x) = 1/2 log|2 pi e cov|."""
    return 0.5 * float(torch.logdet(2 * math.pi * math.e * cov.double()))


def mutual_information(cov: Tensor, weight: Tensor, sigma: float) -> float:
    """I(x; z) = 1/2 log|I + W cov W^T / sigma^2|."""
    spread = _signal(cov, weight) / sigma**2
    return 0.5 * float(torch.logdet(spread + torch.eye(len(spread), dtype=spread.dtype)))


def conditional_entropy(cov: Tensor, weight: Tensor, sigma: float) -> float:
    """H(x|z) = H(x) - I(x; z)."""
    return entropy(cov) - mutual_information(cov, weight, sigma)


def _signal(cov: Tensor, weight: Tensor) -> Tensor:
    return weight.double() @ cov.double() @ weight.double().mT


def _posterior(cov: Tensor, weight: Tensor, sigma: float) -> Tensor:
    signal, cross = _signal(cov, weight), weight.double() @ cov.double()
    total = signal + sigma**2 * torch.eye(len(signal), dtype=signal.dtype)
    return cov.double() - cross.mT @ torch.linalg.solve(total, cross)
