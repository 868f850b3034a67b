"""What no attack can beat where x is one of finitely many known images, equally likely, and the release is Gaussian.

The posterior is then an exact sum over the images, and E[x|z] the best of all reconstructions in mean squared error.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ROWS = 256  # releases that are compared with all signals at once


class Least(NamedTuple):
    """`mse`: the MMSE per value of x, averaged over draws of z; `error`: the standard error of that average."""

    mse: float
    error: float


def posterior(signals: Tensor, release: Tensor, std: Tensor | float) -> Tensor:
    """p(x = image k | z) (N, K), float64, of releases (N, ...) = signal + N(0, diag(std^2)), for signals (K, ...).

    `std` broadcasts to one signal; an infinite one lets its entry say nothing.
    """
    signals, release = (t.double() / torch.as_tensor(std, device=t.device) for t in (signals, release))
    distance = torch.cdist(release.flatten(1), signals.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    return (-0.5 * distance.square()).softmax(1)


def reconstruct(images: Tensor, signals: Tensor, release: Tensor, std: Tensor | float) -> Tensor:
    """E[x|z] of each release (N, ...): images (K, C, H, W) weighed by their posterior."""
    weight = posterior(signals, release, std)
    return (weight @ images.double().flatten(1)).view(len(release), *images.shape[1:])


def mmse(images: Tensor, signals: Tensor, std: Tensor | float, *, draws: int, seed: int = 0) -> Least:
    """The MMSE of images (K, ...) with signals (K, ...): the posterior variance, `draws` releases of each."""
    generator, flat = torch.Generator().manual_seed(seed), images.double().flatten(1)
    square, variances = flat.square().sum(1), []
    size = torch.as_tensor(std, device=signals.device).expand(signals.shape[1:])
    size = torch.where(size.isinf(), 0.0, size)  # such an entry says nothing, whatever stands there
    for part in signals.repeat(draws, *[1] * (signals.dim() - 1)).split(ROWS):
        noise = torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part.device)
        weight = posterior(signals, part.double() + size * noise, std)
        variances.append(weight @ square - (weight @ flat).square().sum(1))
    values = torch.cat(variances).clamp_min(0) / flat.shape[1]
    return Least(float(values.mean()), float(values.std() / len(values) ** 0.5))
