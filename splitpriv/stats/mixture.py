"""Gaussian mixtures: expectation-maximisation, and log-determinants under added noise."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from splitpriv.stats.kmeans import lloyd, seed_centres

Covariance = Literal["full", "diagonal"]


class Mixture(NamedTuple):
    """sum_j weight_j N(mean_j, cov_j): `weight` (M,), `mean` (M, D), `cov` (M, D, D), or (M, D) where diagonal."""

    weight: Tensor
    mean: Tensor
    cov: Tensor


def log_det(cov: Tensor, sigma: float) -> Tensor:
    """log|cov_j + sigma^2 I| (M,), differentiable, for `cov` (M, D, D) or its diagonals (M, D); no host read."""
    if cov.dim() == 2:
        return (cov + sigma**2).log().sum(1)
    return 2 * _factor(cov, sigma**2).diagonal(dim1=1, dim2=2).log().sum(1)


def log_prob(mixture: Mixture, x: Tensor) -> Tensor:
    """log(weight_j N(x_i; mean_j, cov_j)) (N, M) of the points `x` (N, D)."""
    full = mixture.cov.dim() == 3
    # float64: with fewer points than dimensions, the smallest eigenvalue is the jitter
    scale = _factor(mixture.cov.double(), 0.0).to(x.dtype) if full else mixture.cov.sqrt()
    half = scale.diagonal(dim1=1, dim2=2).log().sum(1) if full else scale.log().sum(1)
    distance = []
    for mean, s in zip(mixture.mean, scale, strict=True):  # one component at a time: (N, M, D) would not fit
        d = x - mean
        d = torch.linalg.solve_triangular(s, d.mT, upper=False).mT if full else d / s
        distance.append(d.square().sum(1))
    return mixture.weight.log() - half - 0.5 * torch.stack(distance, 1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


def fit(x: Tensor, share: Tensor, mean: Tensor, covariance: Covariance, iterations: int, jitter: float) -> Mixture:
    """Maximum-likelihood mixture of the points `x` (N, D) by expectation-maximisation.

    Starts from `share` (N, M), each point's share in each component (rows of zeros leave a point out), and `mean`
    (M, D), which a component without points keeps. `jitter` is added to every variance.
    """
    present = share.sum(1, keepdim=True)
    mixture = _maximise(x, share, mean, covariance, jitter)
    for _ in range(iterations):
        share = log_prob(mixture, x).softmax(1) * present
        mixture = _maximise(x, share, mixture.mean, covariance, jitter)
    return mixture


def fit_clusters(x: Tensor, components: int, covariance: Covariance, iterations: int, jitter: float,
                 generator: torch.Generator | None = None) -> Mixture:  # fmt: skip
    """The mixture of `components` that `fit` reaches from k-means on `x` (N, D)."""
    mask = torch.ones(1, len(x), dtype=torch.bool, device=x.device)
    clusters = lloyd(x[None], mask, seed_centres(x[None], mask, components, generator), iterations)
    return fit(x, clusters.member[0], clusters.centres[0], covariance, iterations, jitter)


def _maximise(x: Tensor, share: Tensor, mean: Tensor, covariance: Covariance, jitter: float) -> Mixture:
    count = share.sum(0)
    safe = count.clamp(min=torch.finfo(x.dtype).tiny)
    mean = torch.where(count[:, None] > 0, share.mT @ x / safe[:, None], mean)
    cov = []
    for m, part, n in zip(mean, share.mT, safe, strict=True):
        d = x - m
        cov.append((part[:, None] * d).mT @ d / n if covariance == "full" else part @ d.square() / n)
    stacked = torch.stack(cov)
    extra = jitter * torch.eye(x.shape[1], dtype=x.dtype, device=x.device) if covariance == "full" else jitter
    return Mixture(count / count.sum(), mean, stacked + extra)


def _factor(cov: Tensor, extra: float) -> Tensor:
    # cholesky_ex: unlike cholesky, it does not read its error code back from the device
    eye = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
    return torch.linalg.cholesky_ex(cov + extra * eye).L
