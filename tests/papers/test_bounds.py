"""Theorems 1 and 2 of CEM on Gaussians, where everything is known in closed form."""

import math

import pytest
import torch

from splitpriv.stats import gaussian
from splitpriv.stats.bounds import cem_bound, entropy_bound, mixture_information


def case(d, m, seed=0):
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(d, d, generator=g, dtype=torch.float64)
    return root @ root.mT / d + 0.05 * torch.eye(d), torch.randn(m, d, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.03, 0.3, 3.0])
@pytest.mark.parametrize(("d", "m"), [(6, 6), (6, 3), (4, 9)])
def test_theorem_1_stays_below_the_best_attack(d, m, sigma):
    cov, weight = case(d, m)
    bound = entropy_bound(gaussian.conditional_entropy(cov, weight, sigma), d)
    assert 0 < bound < gaussian.mmse(cov, weight, sigma)


def test_theorem_1_is_an_equality_for_isotropic_posteriors():
    rotation = torch.linalg.qr(case(7, 7)[1]).Q
    cov = 0.4 * torch.eye(7, dtype=torch.float64)
    bound = entropy_bound(gaussian.conditional_entropy(cov, rotation, 0.5), 7)
    assert bound == pytest.approx(gaussian.mmse(cov, rotation, 0.5), rel=1e-12)
    assert bound == pytest.approx(1 / (1 / 0.4 + 1 / 0.25), rel=1e-12)


def test_theorem_2_is_an_equality_for_one_gaussian():
    cov, weight = case(6, 4)
    signal = (weight @ cov @ weight.mT)[None]
    bound = mixture_information(torch.ones(1, dtype=torch.float64), signal, 0.3)
    assert float(bound) == pytest.approx(gaussian.mutual_information(cov, weight, 0.3), rel=1e-12)


@pytest.mark.parametrize("gap", [0.5, 2.0, 20.0])
def test_theorem_2_bounds_the_information_of_a_mixture_from_above(gap):
    weight = torch.tensor([0.3, 0.7], dtype=torch.float64)
    std, mean, sigma = torch.tensor([0.5, 1.0]), torch.tensor([0.0, gap]), 0.4
    z = torch.linspace(-8, gap + 8, 200_001, dtype=torch.float64)
    total = (std.double() ** 2 + sigma**2).sqrt()
    density = (weight * torch.exp(-0.5 * ((z[:, None] - mean) / total) ** 2) / (total * math.sqrt(2 * math.pi))).sum(1)
    h_z = -torch.trapezoid(torch.xlogy(density, density), z)
    truth = float(h_z) - 0.5 * math.log(2 * math.pi * math.e * sigma**2)
    bound = float(mixture_information(weight, std.double()[:, None] ** 2, sigma))
    assert bound >= truth - 1e-9
    if gap == 20:  # components that never overlap leave nothing to lose
        assert bound == pytest.approx(truth, abs=1e-6)


SETTINGS = {"components": 1, "iterations": 5, "jitter": 1e-9}


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_cem_bound_on_gaussian_data_equals_the_closed_form(sigma):
    cov, weight = case(5, 5)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(20_000, 5, generator=g, dtype=torch.float64) @ torch.linalg.cholesky(cov).mT
    bound = cem_bound(x @ weight.mT + 7, sigma, 5, gaussian.entropy(cov), covariance="full", generator=g, **SETTINGS)
    assert bound.information == pytest.approx(gaussian.mutual_information(cov, weight, sigma), abs=0.03)
    assert bound.entropy == pytest.approx(gaussian.conditional_entropy(cov, weight, sigma), abs=0.03)
    assert bound.mse == pytest.approx(entropy_bound(bound.entropy, 5))
    assert bound.mse < 1.02 * gaussian.mmse(cov, weight, sigma)
    loose = cem_bound(x @ weight.mT, sigma, 5, None, covariance="diagonal", generator=g, **SETTINGS)
    assert loose.information > bound.information  # ignoring correlations can only overstate the information
    assert loose.relative == -loose.information
    assert loose.entropy is None
    assert loose.mse is None


def test_more_noise_makes_the_bound_safer():
    z = torch.rand(500, 2, 3, generator=torch.Generator().manual_seed(0))
    values = [cem_bound(z, s, 10, 0.0, covariance="full", **SETTINGS | {"components": 3},
                        generator=torch.Generator().manual_seed(0)).mse for s in (0.01, 0.1, 1.0)]  # fmt: skip
    assert values == sorted(values)
