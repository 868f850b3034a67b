"""Sparse codes: the lasso's optimum by the locally competitive algorithm (Rozell et al., Neural Computation 2008)."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

_LAST = 5  # steps that carry a gradient


def unit(atoms: Tensor) -> Tensor:
    """The columns of a dictionary (entries, atoms) at length 1."""
    return atoms / atoms.norm(dim=0).clamp(min=1e-8)


def soft(u: Tensor, threshold: float) -> Tensor:
    """sign(u)·max(|u| − threshold, 0)."""
    return u - u.clamp(-threshold, threshold)


def lca(v: Tensor, atoms: Tensor, threshold: float, iterations: int) -> Tensor:
    """a (..., atoms), near argmin of ½|v − Φa|² + threshold·|a|₁ for signals v (..., entries), Φ = `atoms` of length 1.

    u ← u + η(Φᵀv − u − (ΦᵀΦ − I)a), a = soft(u, threshold), from u = 0; η is one over a bound of ΦᵀΦ's largest
    eigenvalue, its largest absolute row sum, so that no step overshoots. At a fixed point the lasso's conditions hold:
    |Φᵀ(v − Φa)| <= threshold, and equal with a's sign where a is not 0. The gradient passes the last steps.
    """
    drive, gram = v @ atoms, atoms.T @ atoms
    rate = 1 / gram.detach().abs().sum(1).amax().clamp(min=1.0)
    rivals = gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    u = torch.zeros_like(drive)
    for left in range(iterations, 0, -1):
        with torch.no_grad() if left > _LAST else contextlib.nullcontext():
            u = torch.lerp(u, drive - soft(u, threshold) @ rivals, rate)
    return soft(u, threshold)
