"""Noise scales: golden numbers, and the analytic mechanism against direct evaluations of its condition."""

import math

import pytest
import torch

from splitpriv.stats.dp import (
    analytic_sigma,
    classical_sigma,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_sigma,
    laplace_like,
    laplace_scale,
)

GOLDEN = [  # ε, b, classical σ at δ = 1e-4 and 1e-5, all per unit sensitivity
    (10, 0.1, 0.43436123038987706, 0.4844805262605389),
    (12.5, 0.08, 0.3474889843119016, 0.3875844210084311),
    (20, 0.05, 0.21718061519493853, 0.24224026313026945),
]


@pytest.mark.parametrize(("epsilon", "b", "sigma4", "sigma5"), GOLDEN)
def test_golden_scales(epsilon, b, sigma4, sigma5):
    assert laplace_scale(epsilon, 1.0) == pytest.approx(b, rel=1e-15)
    assert classical_sigma(epsilon, 1e-4, 1.0) == pytest.approx(sigma4, rel=1e-14)
    assert classical_sigma(epsilon, 1e-5, 1.0) == pytest.approx(sigma5, rel=1e-14)


def delta_by_ndtr(epsilon, sigma, sensitivity):
    from scipy.special import ndtr

    a, b = sensitivity / (2 * sigma), epsilon * sigma / sensitivity
    return ndtr(a - b) - math.exp(epsilon) * ndtr(-a - b)


def delta_by_integration(epsilon, sigma):
    """δ = ∫ max(p − e^ε q, 0) of two normals one sensitivity apart."""
    t = torch.linspace(-12 * sigma, 12 * sigma + 1, 400_001, dtype=torch.float64)
    p, q = (torch.exp(-((t - m) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi)) for m in (1.0, 0.0))
    return torch.trapezoid((p - math.exp(epsilon) * q).clamp(min=0), t).item()


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 2.0, 5.0, 10.0])
def test_delta_is_the_hockey_stick_divergence(epsilon):
    sigma = analytic_sigma(epsilon, 1e-3, 1.0)
    assert delta_by_integration(epsilon, sigma) == pytest.approx(1e-3, rel=1e-5)
    assert gaussian_delta(epsilon, sigma, 1.0) == pytest.approx(1e-3, rel=1e-10)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 1.5, 4.0, 10.0, 50.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-9])
def test_analytic_sigma_is_tight(epsilon, delta):
    sigma = analytic_sigma(epsilon, delta, 3.0)
    assert delta_by_ndtr(epsilon, sigma, 3.0) <= delta * (1 + 1e-6)
    assert delta_by_ndtr(epsilon, sigma * (1 - 1e-4), 3.0) > delta


def test_analytic_needs_less_noise_where_the_classical_formula_is_proven():
    for epsilon in (0.1, 0.5, 1.0):
        assert analytic_sigma(epsilon, 1e-5, 1.0) < classical_sigma(epsilon, 1e-5, 1.0)


def test_the_classical_formula_fails_at_a_large_epsilon():
    assert gaussian_delta(10.0, classical_sigma(10.0, 1e-5, 1.0), 1.0) > 1e-5


def test_rule_changes_at_one():
    assert gaussian_sigma(1.0, 1e-5, 2.0) == classical_sigma(1.0, 1e-5, 2.0)
    assert gaussian_sigma(1.01, 1e-5, 2.0) == analytic_sigma(1.01, 1e-5, 2.0)


def test_scales_grow_with_the_sensitivity():
    assert analytic_sigma(3.0, 1e-5, 8.0) == pytest.approx(8 * analytic_sigma(3.0, 1e-5, 1.0), rel=1e-12)


def test_extreme_epsilon_neither_overflows_nor_loses_the_tail():
    for epsilon in (500.0, 2000.0):
        sigma = analytic_sigma(epsilon, 1e-5, 1.0)
        assert gaussian_delta(epsilon, sigma, 1.0) == pytest.approx(1e-5, rel=1e-9)
    from scipy.special import log_ndtr

    from splitpriv.stats.dp import _log_phi

    for t in (-29.9, -30.1, -45.0, -100.0, 0.0, 3.0):
        assert _log_phi(t) == pytest.approx(log_ndtr(t), rel=1e-12)


def test_releases_compose_as_one_of_a_larger_sensitivity():
    sigma = analytic_sigma(2.0, 1e-5, 1.0)
    assert gaussian_epsilon(1e-5, sigma, 1.0, 1) == pytest.approx(2.0, rel=1e-9)
    sixteen = gaussian_epsilon(1e-5, sigma, 1.0, 16)
    assert 2.0 < sixteen < 16 * 2.0
    assert gaussian_delta(sixteen, sigma, 4.0) == pytest.approx(1e-5, rel=1e-6)
    assert gaussian_epsilon(0.5, 100.0, 1.0, 1) == 0.0


def test_laplace_noise_has_the_law():
    torch.manual_seed(0)
    noise = laplace_like(torch.empty(200_000))
    assert noise.std().item() == pytest.approx(2**0.5, rel=0.02)
    assert noise.abs().mean().item() == pytest.approx(1.0, rel=0.02)
    assert abs(noise.mean().item()) < 0.02
    for quantile in (1.0, 3.0):
        assert (noise.abs() > quantile).float().mean().item() == pytest.approx(math.exp(-quantile), rel=0.05)
