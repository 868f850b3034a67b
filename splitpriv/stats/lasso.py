"""Sparse codes: the lasso's optimum by accelerated proximal steps (FISTA, Beck & Teboulle, SIAM J. Imaging 2009)."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

_LAST = 10  # steps that carry a gradient
_SQUARINGS = 4  # of the Gram matrix: the bound of its largest eigenvalue is at most n^(1/32) too large, n its rows


def unit(atoms: Tensor) -> Tensor:
    """The columns of a dictionary (entries, atoms) at length 1."""
    return atoms / atoms.norm(dim=0).clamp(min=1e-8)


def soft(u: Tensor, threshold: float | Tensor) -> Tensor:
    """sign(u)·max(|u| − threshold, 0)."""
    return u - u.clamp(-threshold, threshold)  # type: ignore[arg-type]


def lasso(v: Tensor, atoms: Tensor, threshold: float, iterations: int) -> Tensor:
    """a (..., atoms), near argmin of ½|v − Φa|² + threshold·|a|₁ for signals v (..., entries), Φ = `atoms` of length 1.

    a ← soft(b + η Φᵀ(v − Φb), η·threshold), b = a with momentum, which a signal loses when it points uphill
    (O'Donoghue & Candès 2015). η is one over a bound of ΦᵀΦ's largest eigenvalue. The gradient passes the last steps,
    which start without momentum: at the optimum nine tenths of the whole, in about its direction.
    """
    drive, gram = v @ atoms, atoms.T @ atoms
    rate = 1 / largest(atoms.detach())
    a = b = torch.zeros_like(drive)
    t = fresh = torch.ones_like(drive[..., :1])
    for left in range(iterations, 0, -1):
        if left == _LAST:
            b, t = a, fresh
        with torch.no_grad() if left > _LAST else contextlib.nullcontext():
            new = soft(b + rate * (drive - b @ gram), rate * threshold)
            uphill = ((b - new) * (new - a)).sum(-1, keepdim=True) > 0
            t = torch.where(uphill, fresh, t)
            after = (1 + (1 + 4 * t.square()).sqrt()) / 2
            a, b, t = new, new + (t - 1) / after * (new - a), after
    return a


def largest(atoms: Tensor) -> Tensor:
    """A bound of the largest eigenvalue of ΦᵀΦ, (): the Frobenius norm of its power, from which no step overshoots."""
    power = atoms @ atoms.T if len(atoms) < atoms.shape[1] else atoms.T @ atoms
    size = power.abs().sum(1).amax().clamp(min=1e-12)  # a bound, too, that keeps powers within what a float holds
    power = power / size
    for _ in range(_SQUARINGS):
        power = power @ power
    return (size * power.norm() ** (1 / 2**_SQUARINGS)).clamp(min=1.0)


def violation(v: Tensor, a: Tensor, atoms: Tensor, threshold: float) -> Tensor:
    """By how much codes a of v miss the lasso's conditions, (..., atoms), in units of v; 0 at the optimum alone.

    Those are Φᵀ(v − Φa) = threshold·sign(a) where a is not 0, and at most threshold in size elsewhere.
    """
    slope = (v - a @ atoms.T) @ atoms
    return torch.where(a == 0, (slope.abs() - threshold).clamp(min=0), (slope - threshold * a.sign()).abs())
