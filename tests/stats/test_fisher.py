"""Fisher information: Jacobians against torch's, golden numbers of a Gaussian toy, which bound binds whom."""

import math

import pytest
import torch
from torch import nn

from splitpriv.stats import gaussian
from splitpriv.stats.fisher import dfil, gaussian_prior, unbiased_mse, van_trees_mse

EYE = torch.eye(5, dtype=torch.float64)


def toy():
    torch.manual_seed(0)
    return torch.randn(24, 32) / 32**0.5


def test_golden_toy():
    """32 -> 24 linear, sigma 1, x ~ N(0, I): the unbiased "bound" lies above the best attack, van Trees' below."""
    weight = toy()
    found = float(dfil(lambda x: x @ weight.mT, torch.zeros(2, 32), 1.0, probes=24).mean())
    mmse = gaussian.mmse(torch.eye(32), weight, 1.0)
    assert unbiased_mse(found) == pytest.approx(1.26, abs=0.005)
    assert mmse == pytest.approx(0.689, abs=0.0005)
    assert van_trees_mse(found, 32.0, 32) == pytest.approx(0.557, abs=0.0005)
    assert van_trees_mse(found, 32.0, 32) <= mmse < unbiased_mse(found)


def net():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 7), nn.Tanh()
    ).double()


def test_exact_is_the_jacobian_of_each_image():
    edge, x = net(), torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    std = torch.linspace(0.1, 1, 7, dtype=torch.float64)
    found = dfil(edge, x, std, probes=7)
    for i in range(3):
        jacobian = torch.func.jacrev(lambda v: edge(v[None])[0])(x[i]).reshape(7, 32)
        assert found[i].item() == pytest.approx((jacobian / std[:, None]).square().sum().item() / 32, rel=1e-10)


def test_random_signs_agree_with_exact_and_with_forward_mode():
    edge, x = net(), torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wide = nn.Sequential(edge, nn.Linear(7, 40).double())
    exact = dfil(wide, x, 0.3, probes=40)
    signs = dfil(wide, x, 0.3, probes=39, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(signs, exact)
    many = torch.stack(
        [dfil(wide, x, 0.3, probes=39, generator=torch.Generator().manual_seed(s)) for s in range(20)]
    ).mean(0)
    torch.testing.assert_close(many, exact, rtol=0.1, atol=0)
    ways = torch.eye(32, dtype=torch.float64).reshape(32, 2, 4, 4)
    forward = torch.stack([torch.func.jvp(lambda v: wide(v), (x,), (w.expand_as(x),))[1].square().sum(1) for w in ways])
    torch.testing.assert_close(forward.sum(0) / (32 * 0.3**2), exact)


def test_works_without_gradients_around_and_leaves_none():
    edge = net().requires_grad_(False)
    x = torch.rand(2, 2, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        found = dfil(edge, x, 1.0, probes=7)
    assert not found.requires_grad and not x.requires_grad and x.grad is None


def test_entries_that_do_not_pass_carry_none():
    x = torch.rand(2, 6)
    std = torch.tensor([0.5, math.inf, 0.5, math.inf, math.inf, 0.5])
    assert dfil(lambda v: v, x, std, probes=6).tolist() == pytest.approx([3 * 4 / 6] * 2)
    assert dfil(lambda v: v, x, std, probes=1).tolist() == pytest.approx([3 * 4 / 6] * 2), "signs are exact here"


def test_prior_of_gaussian_images():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=g, dtype=torch.float64)
    cov = root @ root.mT + 0.2 * EYE
    x = torch.randn(40_000, 5, generator=g, dtype=torch.float64) @ torch.linalg.cholesky(cov).mT
    assert gaussian_prior(x, 1e-12) == pytest.approx(float(torch.linalg.inv(cov).trace()), rel=0.05)
    sample = torch.linalg.inv(x[:9].mT.cov() + 0.1 * EYE).trace()
    assert gaussian_prior(x[:9].reshape(9, 1, 5), 0.1) == pytest.approx(float(sample), rel=1e-10)
    few = torch.linalg.inv(x[:3].mT.cov() + 0.1 * EYE).trace()
    assert gaussian_prior(x[:3], 0.1) == pytest.approx(float(few), rel=1e-8), "the dual form"


def test_a_gaussian_is_the_kindest_prior():
    """A mixture of two far apart has the Fisher information of its narrow parts, its covariance that of neither."""
    x = torch.cat([-1 + 0.1 * torch.randn(5000, 1), 1 + 0.1 * torch.randn(5000, 1)])
    assert gaussian_prior(x, 1e-9) < 0.02 * 0.1**-2


def test_van_trees_is_an_equality_where_all_directions_are_alike():
    weight = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    cov = 0.4 * torch.eye(6, dtype=torch.float64)
    found = float(dfil(lambda x: x @ weight.mT, torch.zeros(1, 6, dtype=torch.float64), 0.5, probes=6).mean())
    assert van_trees_mse(found, 6 / 0.4, 6) == pytest.approx(gaussian.mmse(cov, weight, 0.5), rel=1e-10)
