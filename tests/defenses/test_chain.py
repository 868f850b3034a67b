"""A chain is attached link by link, and what a defence draws while it is built is drawn aside."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from shipped import composed
from torch import Tensor, nn

from splitpriv import targets
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.noise import Noise
from splitpriv.run.parts import make_model
from splitpriv.types import Shape, Spec, Step

SPEC = Spec((1, 4, 4), 2)
PLACES = range(4)


class Net(nn.Module):
    """z of shape (3, 4, 4); a cloud that reads six numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.cloud = nn.Sequential(nn.Conv2d(1, 3, 1)), nn.Sequential(nn.Linear(6, 2))


class Projection(Defense):
    """Six random directions of z, drawn in `attach`: before it there is no matrix to multiply with."""

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.register_buffer("matrix", torch.randn(torch.Size(shape).numel(), 6))

    def after_edge(self, z: Tensor) -> Tensor:
        return z.flatten(1) @ self.matrix


class Shuffle(Defense):
    """The pixels of an image in an order drawn in `attach`, and its noise settled there."""

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.order, self.std = torch.randperm(spec.image[-1]), 0.5

    @property
    def noise_std(self) -> float:
        return self.std

    def before_edge(self, x: Tensor) -> Tensor:
        return x[..., self.order]


def chain(name: str, link: Defense, place: int) -> dict[str, Any]:
    """Three links that build something for the shape of z, and `link` among them."""
    nodes = {n: composed(f"defense=[{n}]")["defense"][n] for n in ("vib", "cem", "noise")}
    links = [(n, targets.build(node, f"defense.{n}")()) for n, node in nodes.items()]
    return dict([*links[:place], (name, link), *links[place:]])


def step(model: Defended, x: Tensor) -> Step:
    return Step(x, torch.arange(len(x)) % 2, {}, model.net.edge, "fit", 1, 0.5, 0.05)


@pytest.mark.parametrize("place", PLACES)
def test_what_a_link_builds_makes_the_shape_that_the_next_one_is_built_for(place: int) -> None:
    model = Defended(Net(), chain("projection", Projection(), place), SPEC)  # type: ignore[arg-type]
    x = torch.rand(8, 1, 4, 4)
    met = [tuple(z.shape[1:]) for _, _, z in model.walk(x)]
    assert met == [(3, 4, 4)] * (place + 1) + [(6,)] * (4 - place)
    assert [shape for _, _, shape in model.shapes()] == met
    assert model.shape == (6,)
    assert model.training
    assert model(x).shape == (8, 2)
    for _, defense, z in model.walk(x):
        penalty = defense.penalty(z, step(model, x)) if defense else None
        assert penalty is None or torch.isfinite(penalty)


@pytest.mark.parametrize("place", PLACES)
def test_what_acts_before_the_edge_may_be_built_in_attach_too(place: int) -> None:
    links = {**chain("shuffle", Shuffle(), place), "projection": Projection()}
    model = Defended(Net(), links, SPEC).eval()  # type: ignore[arg-type]
    x = torch.rand(8, 1, 4, 4)
    assert torch.equal(model.features(x), model.net.edge(x)[..., links["shuffle"].order])
    assert links["cem"].sigma == model.noise_std > 0.5


def test_what_a_defence_draws_while_it_is_built_shifts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = targets.build(composed()["dataset"], "dataset")()

    def made() -> tuple[list[Tensor], Tensor, Tensor]:
        torch.manual_seed(0)
        model = make_model(composed("defense=[vib,noise]"), dataset)
        return list(model.net.parameters()), model.chain["vib"].code.encode.weight, torch.get_rng_state()

    net, code, state = made()
    begin, drawn = Noise.__init__, []

    @functools.wraps(begin)
    def init(self: Noise, **settings: Any) -> None:
        begin(self, **settings)
        drawn.append(torch.rand(3))

    monkeypatch.setattr(Noise, "__init__", init)
    monkeypatch.setattr(Noise, "attach", lambda self, model, spec, shape: drawn.append(torch.rand(3)))
    again, same, after = made()
    assert len(drawn) == 2
    assert all(torch.equal(a, b) for a, b in zip(net, again, strict=True))
    assert torch.equal(code, same)
    assert torch.equal(state, after)
