"""Toy defences that fool one attack: what fooled it shows beside an attack that is not fooled, each in its own flag."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.attacks.suite.settled import gain_from_aux
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.noise import Noise
from splitpriv.measure.checks import Facts, doubts
from splitpriv.measure.measure import bounds
from splitpriv.types import Spec

FLOORS: dict[str, Any] = {"mean_image": {"mse": 1.0}, "random_image": {"mse": 2.0}}
X, VICTIMS = torch.randn(400, 1, 4, 4, generator=torch.Generator().manual_seed(0)).split([300, 100])
SPEC = Spec((1, 4, 4), 2, entropy=8 * math.log(2 * math.pi * math.e))  # N(0, 1) pixels
BLACK, WHITE = frozenset({"query", "aux"}), frozenset({"edge", "query"})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.edge, self.cloud = nn.Conv2d(1, 2, 1, bias=False), nn.Identity()


class Masked(Defense):
    """Rounds without a gradient: nothing is hidden, and a search stands still."""

    def after_edge(self, z: Tensor) -> Tensor:
        return (50 * z).round() / 50


class EveryOther(Defense):
    """Answers every second query with nothing: who averages answers averages that, too."""

    asked = 0

    def after_edge(self, z: Tensor) -> Tensor:
        self.asked += 1
        return z * (self.asked % 2)


class Boastful(Noise):
    """Declares ten times the noise that it adds."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z + 0.1 * self.sigma * torch.randn_like(z)


class Reversed(Defense):
    """Sends all there is, and a gradient that leads away from it."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z + 2 * (z.detach() - z)


class Shaken(Defense):
    """Sends all there is, and a gradient drawn at random."""

    def after_edge(self, z: Tensor) -> Tensor:
        shaken = 30 * torch.randn_like(z) * z
        return z + shaken - shaken.detach()


class Tired(Defense):
    """Answers a hundred queries, and then no more."""

    asked = 0

    def after_edge(self, z: Tensor) -> Tensor:
        self.asked += 1
        return z if self.asked < 100 else 0 * z


class Frozen(Noise):
    """Declares fresh noise and adds the same every time."""

    def after_edge(self, z: Tensor) -> Tensor:
        same = torch.randn(z.shape[1:], generator=torch.Generator().manual_seed(0))
        return z + self.sigma * same


def defended(*chain: Defense) -> Defended:
    torch.manual_seed(0)
    net: Any = Net()
    model = Defended(net, {f"d{i}": link for i, link in enumerate(chain)}, SPEC).eval().requires_grad_(False)
    for link in chain:
        link.__dict__.pop("asked", None)  # what looked at shapes while it was put together was no query
    return model


def regression(model: Defended, aux: Tensor = X) -> tuple[float, float]:
    """MSE of the linear attack that learns from queries about `aux`, on the victims and on what it learned from."""
    seen, shown = model.release(aux).flatten(1), model.release(VICTIMS).flatten(1)
    solution = torch.linalg.lstsq(seen, aux.flatten(1), driver="gelsd").solution
    pairs = ((shown, VICTIMS), (seen, aux))
    victims, learned = (float((r @ solution - x.flatten(1)).square().mean()) for r, x in pairs)
    return victims, learned


def search(model: Defended, eot: int = 1) -> float:
    """MSE of the white-box search from grey whose every step averages `eot` releases."""
    target = model.release(VICTIMS) if eot == 1 else model.features(VICTIMS)
    free = torch.zeros_like(VICTIMS, requires_grad=True)
    adam = torch.optim.Adam([free], 0.1)
    for _ in range(60):
        gap = sum(model.release(free) for _ in range(eot)) / eot - target
        if not gap.requires_grad:
            break
        (free.grad,) = torch.autograd.grad(gap.square().sum(), free)
        adam.step()
    return float((free.detach() - VICTIMS).square().mean())


def kinds(**attacks: Facts) -> set[str]:
    return {flag.kind for flag in doubts(attacks, **FLOORS)}


@pytest.mark.parametrize("toy", [Masked, Reversed, Shaken])
def test_a_masked_gradient_shows_beside_a_black_box(toy: type[Defense]) -> None:
    model = defended(toy())
    white, (black, _) = search(model), regression(model)
    assert black < 0.01 < white
    assert "box" in kinds(
        search=Facts({"mse": white}, requires=WHITE), regression=Facts({"mse": black}, requires=BLACK)
    )
    honest = search(defended())
    assert not kinds(search=Facts({"mse": honest}, requires=WHITE), regression=Facts({"mse": 0.02}, requires=BLACK))


@pytest.mark.parametrize("toy", [EveryOther, Tired])
def test_averaged_gradients_that_do_worse_show(toy: type[Defense]) -> None:
    one, many = search(defended(toy())), search(defended(toy()), eot=2)
    assert one < 0.5 * many
    settings = {"_target_": "Search"}
    found = kinds(one=Facts({"mse": one}, settings), many=Facts({"mse": many}, {**settings, "eot": 2}, eot=2))
    assert "twin" in found


def test_a_bound_from_noise_that_is_not_added_is_beaten() -> None:
    honest: set[str] = set()
    for chain, wanted in ((Boastful(sigma=1.0), {"bound"}), (Frozen(sigma=1.0), {"bound"}), (Noise(sigma=1.0), honest)):
        model = defended(chain)
        told = bounds(model, Split(X, torch.zeros(300).long(), torch.arange(300)), SPEC)
        found = Facts({"mse": regression(model)[0]})
        flags = doubts({"a": found, "b": found}, **FLOORS, bounds=told)
        assert {flag.kind for flag in flags} == wanted


@pytest.mark.parametrize(("images", "wanted"), [(70, {"starved"}), (300, set())])
def test_an_attack_that_would_do_better_with_twice_the_aux_shows(images: int, wanted: set[str]) -> None:
    """Noise that a linear attack needs many images to see through: those it learned from tell how many it lacks."""
    apart, seen = regression(defended(Noise(sigma=0.5)), X[:images])
    assert kinds(a=Facts({"mse": apart}, gain=gain_from_aux(seen, apart)), b=Facts({"mse": apart})) == wanted
