"""Dependence of two batches in kernels: HSIC, its normalised form and COCO. All that is seen of a batch is its kernel.

Kernels are (N, N), of N samples. Gretton et al. 2005 (Measuring statistical dependence with Hilbert-Schmidt norms;
Kernel constrained covariance for dependence measurement), Fukumizu et al. 2007 for the normalised form.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SQUARINGS = 6  # of a matrix, for its largest singular value: as many as 64 power iterations


def gaussian_kernel(v: Tensor, sigma: float | None) -> Tensor:
    """exp(-|a - b|² / (2 σ² D)) of the rows of v (N, ...), D values each, in double precision: D makes one σ do.

    With σ None, 2 σ² D is the median of |a - b|² over the batch, so that the scale of v does not matter; at least
    D/10⁶, or the slope at a v that is constant would have no bound.
    """
    v = v.flatten(1).double()
    v = v - v.mean(0)  # the Gram form below cancels less
    norms = v.square().sum(1)
    squared = (norms[:, None] + norms - 2 * v @ v.T).clamp(min=0)
    if sigma is None:
        width = squared.detach().median().clamp(min=1e-6 * v.shape[1])
        return (-squared / width).exp()
    return (-squared / (2 * sigma**2 * v.shape[1])).exp()


def label_kernel(y: Tensor) -> Tensor:
    """The linear kernel of one-hot labels y (N,): 1 for two of one class."""
    return (y[:, None] == y).double()


def hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """tr(K H L H) / (N - 1)² >= 0, a scalar: 0 for independence in the limit, biased upwards by about 1/N."""
    return (_centred(k) * l).sum() / max(1, len(k) - 1) ** 2


def nhsic(k: Tensor, l: Tensor, epsilon: float = 1e-5) -> Tensor:  # noqa: E741
    """tr(R_K R_L) with R = K̃ (K̃ + ε N I)⁻¹, K̃ = H K H: between 0 and N - 1, and blind to the scale of a kernel.

    As BiDO's code has it, but for its K H in place of H K H.
    """
    a, b = (_whitened(_centred(m), epsilon) for m in (k, l))
    return (a * b.mT).sum()


def coco(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """sqrt(‖K̃ L̃‖₂) / N, the largest singular value: the largest covariance of functions of unit norm in both kernels.

    BiDO's code takes the Frobenius norm, which is larger and counts all directions.
    """
    product = _centred(k) @ _centred(l)
    return (_largest(product) + 1e-12).sqrt() / len(k)


def _centred(k: Tensor) -> Tensor:
    rows = k.mean(1)
    return k - rows[:, None] - k.mean(0) + rows.mean()


def _whitened(k: Tensor, epsilon: float) -> Tensor:
    eye = torch.eye(len(k), dtype=k.dtype, device=k.device)
    weight = epsilon * len(k)
    return eye - weight * torch.linalg.inv_ex(k + weight * eye).inverse  # inv would ask the device whether it went well


def _largest(m: Tensor) -> Tensor:
    """The largest singular value of m (N, N), with its gradient; a decomposition would ask the device."""
    with torch.no_grad():
        power = m @ m.mT
        for _ in range(_SQUARINGS):
            power = power / power.abs().max().clamp(min=torch.finfo(m.dtype).tiny)
            power = power @ power
        left = power @ torch.arange(1, len(m) + 1, dtype=m.dtype, device=m.device).cos()
        left = left / left.norm().clamp(min=torch.finfo(m.dtype).tiny)
        right = m.mT @ left
        right = right / right.norm().clamp(min=torch.finfo(m.dtype).tiny)
    return left @ m @ right
