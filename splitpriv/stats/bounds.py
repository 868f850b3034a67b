"""How well can any attack do? Bounds on the reconstruction error from conditional entropy.

Source: Xia et al., Theoretical Insights in Model Inversion Robustness and Conditional Entropy Maximization for
Collaborative Inference Systems, CVPR 2025. Entropies are in nats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from splitpriv.stats.mixture import Covariance, fit_clusters, log_det


class Bound(NamedTuple):
    """`information`: upper bound on I(x; z); `relative`: H(x|z) up to the unknown constant H(x), higher is safer.

    `entropy`, a lower bound on H(x|z), and `mse`, one on any attack's error per dimension, need H(x): None without it.
    """

    information: float
    relative: float
    entropy: float | None
    mse: float | None


def entropy_bound(conditional_entropy: float, d: int) -> float:
    """Theorem 1: no reconstruction of x (d values) from z has a mean squared error below exp(2 H(x|z) / d) / (2 pi e).

    Equality for a Gaussian posterior with the same variance in every direction.
    """
    return math.exp(2 * conditional_entropy / d) / (2 * math.pi * math.e)


def mixture_information(weight: Tensor, cov: Tensor, sigma: float) -> Tensor:
    """Theorem 2: an upper bound on I(x; z), (), where the noise-free z is the Gaussian mixture of `weight` (M,) and
    `cov` ((M, D, D), or (M, D) where diagonal), and the release adds noise of standard deviation `sigma` > 0.

    Equality for one component. Differentiable.
    """
    gain = 0.5 * (log_det(cov, sigma) - 2 * cov.shape[-1] * math.log(sigma))
    return (weight * gain - torch.xlogy(weight, weight)).sum()


def cem_bound(z: Tensor, sigma: float, d: int, entropy: float | None, *, components: int, covariance: Covariance,
              iterations: int, jitter: float, generator: torch.Generator | None = None) -> Bound:  # fmt: skip
    """CEM's lower bound on the error of any attack on z + sigma e, from noise-free features `z` (N, ...).

    `d` is the number of values of x, `entropy` is H(x) where known. The mixture is fitted to `z`: a certificate only as
    far as z is such a mixture and N is large against its dimension, an estimate otherwise.
    """
    mixture = fit_clusters(z.flatten(1).double(), components, covariance, iterations, jitter, generator)
    information = float(mixture_information(mixture.weight, mixture.cov, sigma))
    if entropy is None:
        return Bound(information, -information, None, None)
    left = entropy - information
    return Bound(information, -information, left, entropy_bound(left, d))
