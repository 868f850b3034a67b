"""Fisher information of a release s(x) + N(0, S) about the image, and the errors below which no attack comes.

Maeng, Guo, Kariyappa & Suh, Bounding the Invertibility of Privacy-preserving Instance Encoding using Fisher
Information, NeurIPS 2023. All holds for one release; of m averaged ones the information is m times as large.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def dfil(signal: Callable[[Tensor], Tensor], x: Tensor, std: Tensor | float, *, probes: int,
         generator: torch.Generator | None = None) -> Tensor:  # fmt: skip
    """tr(J^T S^-1 J) / n (N,) at the images x (N, n values each): J = ds/dx, S = diag(std^2), in 1 / (units of x)^2.

    `signal` treats images one by one and is differentiable almost everywhere; `std` > 0 broadcasts to one signal,
    infinite where an entry does not pass. Exact where the signal has at most `probes` entries; else Hutchinson's
    estimate from random signs, backwards, which every layer can do, and forward mode cannot.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        scaled = (signal(x) / std).flatten(1)
        total, size = torch.zeros(len(x), dtype=x.dtype, device=x.device), scaled.shape[1]
        exact = size <= probes
        for i in range(size if exact else probes):
            if exact:
                probe = torch.zeros_like(scaled)
                probe[:, i] = 1
            else:
                probe = 2.0 * torch.randint(0, 2, scaled.shape, generator=generator).to(scaled) - 1
            (slope,) = torch.autograd.grad(scaled, x, probe, retain_graph=True)
            total = total + slope.square().flatten(1).sum(1)
    return total.double() / (x[0].numel() * (1 if exact else probes))


def unbiased_mse(dfil: float) -> float:
    """1 / dFIL: no *unbiased* attacker has a smaller mean squared error. Whoever uses a prior is biased, and may."""
    return 1 / dfil


def van_trees_mse(dfil: float, prior: float, n: int) -> float:
    """1 / (E[dFIL] + tr J(p) / n): no attacker at all has a smaller mean squared error over x ~ p (van Trees).

    `dfil` is the mean over images, `prior` the trace of the prior's Fisher information J(p), n the values of an image.
    """
    return 1 / (dfil + prior / n)


def gaussian_prior(x: Tensor, floor: float) -> float:
    """tr J(p) if images x (N, ...) were Gaussian: the trace of (Cov(x) + floor I)^-1.

    An assumption, and the kindest of all: no density of that covariance has less Fisher information, so that the bound
    made from it may be too high. With N below the dimension the covariance is singular, and the bound too low; `floor`
    > 0, a variance, keeps it finite.
    """
    flat = x.flatten(1).double()
    flat = (flat - flat.mean(0)) / (len(flat) - 1) ** 0.5
    n = flat.shape[1]
    values = torch.linalg.eigvalsh(flat @ flat.mT if n > len(flat) else flat.mT @ flat).clamp_min(0)
    return float((1 / (values + floor)).sum()) + (n - len(values)) / floor
