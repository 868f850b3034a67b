"""Toy defences that fool one attack: what fooled it shows beside an attack that is not fooled, each in its own flag."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

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


def defended(*chain: Defense) -> Defended:
    torch.manual_seed(0)
    net: Any = Net()
    model = Defended(net, {f"d{i}": link for i, link in enumerate(chain)}, SPEC).eval().requires_grad_(False)
    for link in chain:
        link.__dict__.pop("asked", None)  # what looked at shapes while it was put together was no query
    return model


def regression(model: Defended) -> float:
    """MSE of the linear attack that learns from queries."""
    seen, shown = model.release(X).flatten(1), model.release(VICTIMS).flatten(1)
    found = shown @ torch.linalg.lstsq(seen, X.flatten(1), driver="gelsd").solution
    return float((found - VICTIMS.flatten(1)).square().mean())


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


def test_a_masked_gradient_shows_beside_a_black_box() -> None:
    model = defended(Masked())
    white, black = search(model), regression(model)
    assert black < 0.01 < white
    assert "box" in kinds(
        search=Facts({"mse": white}, requires=WHITE), regression=Facts({"mse": black}, requires=BLACK)
    )
    honest = search(defended())
    assert not kinds(search=Facts({"mse": honest}, requires=WHITE), regression=Facts({"mse": 0.02}, requires=BLACK))


def test_averaged_gradients_that_do_worse_show() -> None:
    one, many = search(defended(EveryOther())), search(defended(EveryOther()), eot=2)
    assert one < 0.5 * many
    settings = {"_target_": "Search"}
    found = kinds(one=Facts({"mse": one}, settings), many=Facts({"mse": many}, {**settings, "eot": 2}, eot=2))
    assert "twin" in found


def test_a_bound_from_noise_that_is_not_added_is_beaten() -> None:
    for chain, wanted in ((Boastful(sigma=1.0), {"bound"}), (Noise(sigma=1.0), set())):
        model = defended(chain)
        told = bounds(model, Split(X, torch.zeros(300).long(), torch.arange(300)), SPEC)
        found = Facts({"mse": regression(model)})
        flags = doubts({"a": found, "b": found}, **FLOORS, bounds=told)
        assert {flag.kind for flag in flags} == wanted
