"""Distance correlation (Székely, Rizzo & Bakirov 2007) of two batches, in Euclidean distances."""

from __future__ import annotations

import torch
from torch import Tensor

_EPS = 1e-12  # inside the outer root: a finite slope at zero correlation


def dcor(x: Tensor, z: Tensor) -> Tensor:
    """dCor(x, z) in [0, 1], a differentiable scalar; x (N, ...) and z (N, ...) are flattened per sample.

    The V-statistic, as NoPeek uses it: 1 for z = c·x + d, biased upwards in small batches; 0 if either is constant.
    With squared distances, as in some ports, it would see linear dependence only.
    """
    with torch.autocast(z.device.type, enabled=False):
        return _cosine(_centred(distances(x)), _centred(distances(z))).clamp(min=0).add(_EPS).sqrt()


def dcor2_unbiased(x: Tensor, z: Tensor) -> Tensor:
    """Bias-corrected dCor², a scalar with mean about 0 under independence, so it may be negative; N >= 4.

    U-centred distances (Székely & Rizzo 2014). For reports: it does not depend on the batch size as `dcor` does.
    """
    if len(x) < 4:
        raise ValueError(f"dcor2_unbiased needs at least 4 samples, got {len(x)}")
    with torch.autocast(z.device.type, enabled=False):
        return _cosine(_u_centred(distances(x)), _u_centred(distances(z)))


def distances(v: Tensor) -> Tensor:
    """Euclidean distances (N, N); what rounding cannot tell from 0 is 0, with zero gradient."""
    v = v.flatten(1)
    v = v if v.dtype == torch.float64 else v.float()
    v = v - v.mean(0)  # the Gram form below cancels less
    norms = v.square().sum(1)
    scale = norms[:, None] + norms
    squared = scale - 2 * v @ v.T
    same = (squared <= 16 * torch.finfo(v.dtype).eps * scale) | torch.eye(len(v), dtype=torch.bool, device=v.device)
    return squared.masked_fill(same, 1.0).sqrt().masked_fill(same, 0.0)


def _centred(d: Tensor) -> Tensor:
    rows = d.mean(1)
    return d - rows[:, None] - rows + rows.mean()


def _u_centred(d: Tensor) -> Tensor:
    n, rows = len(d), d.sum(1)
    centred = d - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return centred.masked_fill(torch.eye(n, dtype=torch.bool, device=d.device), 0.0)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of two matrices; 0 where one of them is 0. Scaled first, so that no product under- or overflows."""
    a, b = (m / m.detach().abs().amax().clamp(min=torch.finfo(m.dtype).tiny) for m in (a, b))
    return (a * b).sum() / (a.square().sum() * b.square().sum() + torch.finfo(a.dtype).tiny).sqrt()
