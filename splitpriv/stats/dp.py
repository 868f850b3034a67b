"""Differential privacy of additive noise: scales that guarantee a stated (ε, δ), and what a scale guarantees."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def laplace_scale(epsilon: float, sensitivity: float) -> float:
    """Scale b of Laplace noise that makes a release of this L1 sensitivity ε-DP (Dwork et al. 2006)."""
    return sensitivity / epsilon


def laplace_like(z: Tensor) -> Tensor:
    """Laplace noise of scale 1 in the shape of z: a difference of exponentials is finite for every draw."""
    return torch.empty_like(z).exponential_() - torch.empty_like(z).exponential_()


def gaussian_sigma(epsilon: float, delta: float, sensitivity: float) -> float:
    """σ that makes a release of this L2 sensitivity (ε, δ)-DP: classical for ε <= 1, analytic above."""
    rule = classical_sigma if epsilon <= 1 else analytic_sigma
    return rule(epsilon, delta, sensitivity)


def classical_sigma(epsilon: float, delta: float, sensitivity: float) -> float:
    """σ = Δ·sqrt(2 ln(1.25/δ))/ε (Dwork & Roth 2014, Theorem A.1); no guarantee for ε > 1."""
    return sensitivity * math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def analytic_sigma(epsilon: float, delta: float, sensitivity: float) -> float:
    """The smallest σ that is (ε, δ)-DP (Balle & Wang 2018, Theorem 8), by bisection, rounded to the safe side."""
    return sensitivity * _smallest(lambda ratio: gaussian_delta(epsilon, ratio, 1.0) <= delta)


def gaussian_delta(epsilon: float, sigma: float, sensitivity: float) -> float:
    """The exact δ(ε) of Gaussian noise σ: Φ(Δ/2σ − εσ/Δ) − e^ε Φ(−Δ/2σ − εσ/Δ) (Balle & Wang 2018, Theorem 8)."""
    half, shift = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
    return max(0.0, math.exp(_log_phi(half - shift)) - math.exp(epsilon + _log_phi(-half - shift)))


def gaussian_epsilon(delta: float, sigma: float, sensitivity: float, releases: int) -> float:
    """The exact ε at this δ of `releases` independent Gaussian releases: they leak as one of sensitivity Δ·sqrt(m)."""
    total = sensitivity * math.sqrt(releases)
    if gaussian_delta(0.0, sigma, total) <= delta:
        return 0.0
    return _smallest(lambda epsilon: gaussian_delta(epsilon, sigma, total) <= delta)


def _smallest(holds: Callable[[float], bool]) -> float:
    """The smallest v > 0 from which on `holds` is true; the returned end of the bracket always satisfies it."""
    low = high = 1.0
    while not holds(high):
        high *= 2
    while holds(low):
        low /= 2
    for _ in range(200):
        middle = math.sqrt(low * high)
        if not low < middle < high:
            break
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _log_phi(t: float) -> float:
    """log Φ(t) of the standard normal; beyond 30 below, where erfc nears underflow, the asymptotic series."""
    if t > -30:
        return math.log(math.erfc(-t / math.sqrt(2)) / 2)
    series = -1 / t**2 + 3 / t**4 - 15 / t**6
    return -t * t / 2 - math.log(-t * math.sqrt(2 * math.pi)) + math.log1p(series)
