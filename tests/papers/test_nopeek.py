"""NoPeek (Vepakomma et al. 2020): weight times the distance correlation, in Euclidean distances, of images and z."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from splitpriv.config import compose
from splitpriv.defenses.nopeek import NoPeek
from splitpriv.targets import build
from splitpriv.types import Spec, Step

SPEC = Spec((3, 4, 4), 2, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.4))


def grid(n: int, d: int) -> Tensor:
    i, j = torch.arange(1, n + 1, dtype=torch.float64)[:, None], torch.arange(1, d + 1, dtype=torch.float64)
    return torch.sin(i * j + 0.3 * j) + 0.1 * torch.cos(0.7 * i + j)


def nopeek(weight: float = 1.0, normalise: bool = False, spec: Spec = SPEC) -> NoPeek:
    defense = NoPeek(weight=weight, normalise=normalise)
    defense.attach(None, spec, (1,))
    return defense


def step(x: Tensor) -> Step:
    return Step(x, torch.zeros(len(x), dtype=torch.long), {}, nn.Identity(), "fit", 0, 0.0, 0.05)


def test_the_penalty_is_weight_times_the_golden_distance_correlation() -> None:
    x = grid(16, 5)
    images, z = x.view(16, 1, 1, 5), (x[:, :2] ** 2).view(16, 2, 1, 1)
    for weight in (0.0, 1.0, 2.5):
        value = nopeek(weight).penalty(z, step(images)).item()
        assert value == pytest.approx(weight * 0.5794795510592274, abs=1e-9)
        assert weight == 0 or value != pytest.approx(weight * 0.24864037665561792, abs=0.1)  # squared distances


def test_dependence_without_correlation_is_seen() -> None:
    s = torch.linspace(-1, 1, 41, dtype=torch.float64).view(41, 1, 1, 1)
    assert nopeek().penalty(s**2, step(s)).item() == pytest.approx(0.4919084917907174, abs=1e-9)


def test_its_extremes() -> None:
    x = torch.rand(12, 3, 4, 4)
    assert nopeek().penalty(1 - 2 * x, step(x)).item() == pytest.approx(1.0, abs=1e-5)
    assert nopeek().penalty(torch.ones(12, 5), step(x)).item() < 1e-5


def test_normalise_weighs_the_channels_by_their_spread() -> None:
    torch.manual_seed(0)
    x, z = torch.rand(12, 3, 4, 4), torch.rand(12, 6)
    mean, std = torch.tensor(SPEC.mean).view(3, 1, 1), torch.tensor(SPEC.std).view(3, 1, 1)
    plain, scaled = (nopeek(normalise=n).penalty(z, step(x)).item() for n in (False, True))
    assert scaled == pytest.approx(nopeek().penalty(z, step((x - mean) / std)).item(), abs=1e-6)
    assert scaled != pytest.approx(plain, abs=1e-4)
    gray = Spec((1, 4, 4), 2)  # one scale for all pixels: nothing changes
    same = [nopeek(normalise=n, spec=gray).penalty(z, step(x[:, :1])).item() for n in (False, True)]
    assert same[0] == pytest.approx(same[1], abs=1e-5)


def test_the_gradient_reaches_the_edge_and_descending_it_lowers_the_dependence() -> None:
    torch.manual_seed(0)
    edge, x = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Tanh()), torch.rand(24, 3, 4, 4)
    defense, optimizer = nopeek(), torch.optim.Adam(edge.parameters(), 0.1)
    values = []
    for _ in range(15):
        optimizer.zero_grad()
        value = defense.penalty(edge(x), step(x))
        value.backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in edge.parameters())
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] - 0.05


def test_it_changes_no_release_and_keeps_no_state() -> None:
    z, defense = torch.rand(3, 5), nopeek()
    assert torch.equal(defense.after_edge(z), z)
    assert not defense.state_dict()


def test_the_shipped_weight_is_within_the_published_range() -> None:
    node = compose(["defense=[nopeek]"])["defense"]["nopeek"]
    assert 0.1 <= build(node, "defense.nopeek")().weight <= 15
