"""Local differential privacy of a release (Dwork et al. 2006; Balle & Wang 2018): the stated guarantee holds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from splitpriv.defenses.ldp import LDP
from splitpriv.defenses.noise import Laplace
from splitpriv.stats.dp import gaussian_delta

GAUSSIAN = [(0.1, 1e-5), (1.0, 1e-5), (1.0001, 1e-5), (2.0, 1e-4), (10.0, 1e-5), (20.0, 1e-9)]


def ldp(**changes: Any) -> LDP:
    settings: dict[str, Any] = {"mechanism": "gaussian", "clip": 0.5, "epsilon": 10.0, "delta": 1e-5}
    return LDP(**(settings | changes))


@pytest.mark.parametrize(("epsilon", "b", "sigma4", "sigma5"), [
    (10, 0.1, 0.43436123038987706, 0.4844805262605389),
    (12.5, 0.08, 0.3474889843119016, 0.3875844210084311),
    (20, 0.05, 0.21718061519493853, 0.24224026313026945),
])  # fmt: skip
def test_scales_of_the_papers_per_unit_sensitivity(epsilon: float, b: float, sigma4: float, sigma5: float) -> None:
    """Laplace is theirs; their classical σ promises nothing above ε = 1, and at these ε falls short of δ."""
    assert ldp(mechanism="laplace", epsilon=epsilon).scale == pytest.approx(b, rel=1e-12)
    for delta, classical in ((1e-4, sigma4), (1e-5, sigma5)):
        assert math.sqrt(2 * math.log(1.25 / delta)) / epsilon == pytest.approx(classical, rel=1e-12)
        assert gaussian_delta(epsilon, classical, 1.0) > delta
        assert ldp(epsilon=epsilon, delta=delta).scale > classical
        at_one = ldp(epsilon=1.0, delta=delta).scale
        assert at_one == pytest.approx(classical * epsilon, rel=1e-12)  # for ε <= 1 it is the formula


def test_two_images_differ_by_at_most_twice_the_clip() -> None:
    for mechanism in ("gaussian", "laplace"):
        assert ldp(mechanism=mechanism, clip=3.0).sensitivity == 6.0
        one, two = (ldp(mechanism=mechanism, clip=c).scale for c in (1.0, 2.0))
        assert two == pytest.approx(2 * one)


@pytest.mark.parametrize(("epsilon", "delta"), GAUSSIAN)
def test_the_gaussian_certificate_holds(epsilon: float, delta: float) -> None:
    defense = ldp(epsilon=epsilon, delta=delta, clip=3.0)
    assert gaussian_delta(epsilon, defense.noise_std, 6.0) <= delta * (1 + 1e-9)
    if epsilon > 1:
        assert gaussian_delta(epsilon, 0.999 * defense.noise_std, 6.0) > delta
        assert defense.total_epsilon(1) == pytest.approx(epsilon, rel=1e-6)
    assert defense.total_epsilon(1) <= epsilon * (1 + 1e-9)


def noiseless(defense: LDP, z: Tensor) -> Tensor:
    defense.scale = 0.0
    return defense.after_edge(z)


@pytest.mark.parametrize(("mechanism", "p"), [("gaussian", 2), ("laplace", 1)])
def test_norms_are_at_most_the_clip_and_directions_stay(mechanism: str, p: int) -> None:
    torch.manual_seed(0)
    z = torch.randn(64, 4, 3, 3) * torch.logspace(-3, 3, 64).view(-1, 1, 1, 1)
    z = torch.cat([z, torch.zeros(1, 4, 3, 3), torch.full((1, 4, 3, 3), 1e25)])
    clipped = noiseless(ldp(mechanism=mechanism, clip=2.0), z)
    norms, before = (torch.linalg.vector_norm(t.flatten(1), p, dim=1) for t in (clipped, z))
    assert norms.max() <= 2.0 * (1 + 1e-5)
    small = before <= 2.0
    assert 5 < small.sum() < 60
    torch.testing.assert_close(clipped[small], z[small])
    large = ~small & before.isfinite()
    torch.testing.assert_close(norms[large], torch.full_like(norms[large], 2.0))
    torch.testing.assert_close(clipped[large] / 2.0, z[large] / before[large].view(-1, 1, 1, 1))


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_gradients_are_finite_at_zero_and_beyond_the_ball(mechanism: str) -> None:
    z = torch.stack([torch.zeros(5), torch.ones(5) * 1e-3, torch.ones(5) * 100]).requires_grad_()
    ldp(mechanism=mechanism).after_edge(z).square().sum().backward()
    assert torch.isfinite(z.grad).all()
    assert z.grad.any(1).all()


def test_the_gaussian_guarantee_on_drawn_releases() -> None:
    """The worst pair, at opposite ends of the ball, and the best test between them."""
    torch.manual_seed(0)
    epsilon, delta, n = 2.0, 0.05, 400_000
    defense = ldp(epsilon=epsilon, delta=delta, clip=1.5)
    high, low = (defense.after_edge(torch.full((n, 1), end)).flatten() for end in (100.0, -100.0))
    threshold = defense.scale**2 * epsilon / defense.sensitivity  # where the likelihood ratio is e^ε
    found = (high > threshold).float().mean() - math.exp(epsilon) * (low > threshold).float().mean()
    assert found.item() == pytest.approx(delta, abs=0.004)  # it holds, and nothing is wasted


def test_the_laplace_guarantee_on_drawn_releases() -> None:
    """No release is more than e^ε times likelier under one image than under another."""
    torch.manual_seed(0)
    defense = ldp(mechanism="laplace", clip=1.0, epsilon=0.7)
    a, b = torch.randn(2, 8)
    released = defense.after_edge(a.expand(10_000, 8))
    ends = noiseless(ldp(mechanism="laplace", clip=1.0, epsilon=0.7), torch.stack([a, b]))
    loss = ((released - ends[1]).abs().sum(1) - (released - ends[0]).abs().sum(1)) / defense.scale
    assert loss.max() <= 0.7 * (1 + 1e-4)
    extremes = torch.tensor([[9.0, 0], [-9.0, 0]])
    defense = ldp(mechanism="laplace", clip=1.0, epsilon=0.7)
    high, low = (defense.after_edge(e.expand(200_000, 2))[:, 0] for e in extremes)
    ratio = (high > 1).float().mean() / (low > 1).float().mean()
    assert ratio.item() == pytest.approx(math.exp(0.7), rel=0.03)  # attained


def test_without_clipping_no_scale_guarantees_anything() -> None:
    torch.manual_seed(0)
    near, far = (Laplace(scale=0.1).after_edge(torch.full((1000, 1), v)) for v in (0.0, 50.0))
    assert near.max() < far.min()


def test_releases_compose() -> None:
    laplace, gaussian = ldp(mechanism="laplace", epsilon=2.0), ldp(epsilon=2.0)
    assert laplace.total_epsilon(16) == 32
    sixteen = gaussian.total_epsilon(16)
    assert 2 * math.sqrt(16) * 0.9 < sixteen < 32
    assert gaussian_delta(sixteen, gaussian.scale, gaussian.sensitivity * 4) == pytest.approx(1e-5, rel=1e-6)


def test_the_certificate_says_what_holds() -> None:
    for defense in (ldp(epsilon=4.0), ldp(mechanism="laplace", epsilon=4.0)):
        assert defense.epsilon == 4.0
        assert defense.delta == (1e-5 if defense.mechanism == "gaussian" else 0.0)
        assert defense.sensitivity == 1.0
        said = str(defense.facts["certificate"])
        assert f"scale {defense.scale:.4g}" in said
        assert said.startswith(f"(4, {defense.delta:g})-LDP per release ({defense.mechanism}, clipped to 0.5, ")
        assert f"{defense.total_epsilon(16):.4g} for 16" in said
        assert f"{defense.total_epsilon(256):.4g} for 256" in said
