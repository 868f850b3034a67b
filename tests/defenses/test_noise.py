"""Additive noise: its size, its law, and that it never rests."""

from __future__ import annotations

import math

import pytest
import torch

from splitpriv.defenses.base import Defense
from splitpriv.defenses.ldp import LDP
from splitpriv.defenses.noise import Laplace, Noise

KINDS = [
    (Noise(sigma=0.3), 0.3),
    (Laplace(scale=0.3), 0.3 * 2**0.5),
    (LDP(mechanism="gaussian", clip=2.0, epsilon=5.0, delta=1e-4), None),
    (LDP(mechanism="laplace", clip=0.5, epsilon=5.0, delta=1e-4), 2 * 0.5 / 5 * 2**0.5),
]
IDS = ["gaussian", "laplace", "ldp gaussian", "ldp laplace"]


@pytest.mark.parametrize(("defense", "std"), KINDS, ids=IDS)
def test_the_measured_standard_deviation_is_the_stated_one(defense: Defense, std: float | None) -> None:
    torch.manual_seed(0)
    noise = defense.after_edge(torch.zeros(4000, 5, 5))
    if std is not None:
        assert defense.noise_std == pytest.approx(std, rel=1e-12)
    assert noise.std().item() == pytest.approx(defense.noise_std, rel=0.02)
    assert abs(noise.mean().item()) < 0.02 * defense.noise_std


@pytest.mark.parametrize(("defense", "std"), KINDS, ids=IDS)
def test_noise_is_fresh_on_every_call_and_in_either_mode(defense: Defense, std: float | None) -> None:
    z = torch.zeros(2, 3, 4)
    for mode in (True, False):
        defense.train(mode)
        first, second = defense.after_edge(z), defense.after_edge(z)
        assert (first != second).all()
        assert len(first.unique()) == first.numel()  # no draw is shared between images or entries
    assert not z.any()


def test_the_noise_follows_the_seed() -> None:
    def draw(defense: Defense) -> torch.Tensor:
        torch.manual_seed(3)
        return defense.after_edge(torch.ones(2, 3))

    for defense, _ in KINDS:
        assert torch.equal(draw(defense), draw(defense))


def test_the_two_laws_have_their_own_tails() -> None:
    torch.manual_seed(0)
    z = torch.zeros(200_000)
    gaussian, laplace = Noise(sigma=1.0).after_edge(z), Laplace(scale=1.0).after_edge(z)
    for t in (1.0, 3.0):
        assert (gaussian.abs() > t).float().mean().item() == pytest.approx(math.erfc(t / 2**0.5), rel=0.1)
        assert (laplace.abs() > t).float().mean().item() == pytest.approx(math.exp(-t), rel=0.05)


@pytest.mark.parametrize("defense", [Noise(sigma=0.0), Laplace(scale=0.0)])
def test_none_at_all_is_the_identity(defense: Defense) -> None:
    z = torch.rand(2, 3)
    assert torch.equal(defense.after_edge(z), z)
    assert defense.noise_std == 0


@pytest.mark.parametrize("defense", [Noise(sigma=1.0), Laplace(scale=1.0)])
def test_the_gradient_passes_unchanged(defense: Defense) -> None:
    z = torch.rand(2, 3, requires_grad=True)
    defense.after_edge(z).sum().backward()
    assert torch.equal(z.grad, torch.ones(2, 3))
