"""A chain is attached link by link, and what a defence draws while it is built is drawn aside."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from shipped import composed
from torch import Tensor, nn

from splitpriv import targets
from splitpriv.attacks.base import Aux
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.noise import Noise
from splitpriv.defenses.parts.held import taken
from splitpriv.defenses.parts.law import adaptive, input_is_fixed
from splitpriv.measure.measure import bounds
from splitpriv.run import declared
from splitpriv.run.parts import make_model
from splitpriv.types import Shape, Spec, Step, UserError

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


HOOKS: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "double": ({"after_edge": lambda self, z: z.double()}, "after_edge makes (2, 3, 4, 4) in torch.float64"),
    "int8": (
        {"after_edge": lambda self, z: (z * 10).round().to(torch.int8)},
        "after_edge makes (2, 3, 4, 4)",
    ),
    "one row": ({"after_edge": lambda self, z: z[:1]}, "after_edge makes (1, 3, 4, 4)"),
    "two": ({"after_edge": lambda self, z: (z, z)}, "after_edge returns a tuple; return one tensor"),
    "in place": ({"after_edge": lambda self, z: z.add_(1)}, "after_edge changes in place what it is given"),
    "of a view": ({"after_edge": lambda self, z: z.flatten(1).mul_(2)}, "after_edge changes in place"),
    "expected": (
        {"expected": lambda self, z: z.flatten(1)},
        "expected makes (48,) of each image, and must",
    ),
    "the image": ({"before_edge": lambda self, x: x.mul_(2)}, "before_edge changes in place what it is given"),
    "its size": ({"before_edge": lambda self, x: x[..., :2]}, "before_edge makes (1, 4, 2) of each image"),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_what_hooks_return_is_tried_before_anything_is_trained(hook: str) -> None:
    hooks, told = HOOKS[hook]
    link = type("Own", (Defense,), hooks)()
    with pytest.raises(UserError) as error:
        Defended(Net(), {"own": link}, SPEC)  # type: ignore[arg-type]
    assert str(error.value).startswith(f"defense.own: {told}")


def test_a_release_that_the_cloud_cannot_take_is_told_before_anything_is_trained() -> None:
    turned = type("Turned", (Defense,), {"after_edge": lambda self, z: z.permute(0, 2, 3, 1).contiguous()})
    model = Defended(Net(), {"own": turned()}, SPEC)  # type: ignore[arg-type]
    model.net.cloud = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(32, 2))
    with pytest.raises(UserError, match=r"defense: sends \(4, 4, 3\) of each image, .* made for \(3, 4, 4\)"):
        taken(model)
    model.net.cloud = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))  # takes any order
    taken(model)


def says(value: Any) -> Any:
    """A hook, or an attribute, that is always `value`."""
    return property(lambda self: value)


SAID: dict[str, tuple[dict[str, Any], str]] = {
    "keep": ({"keep": says(torch.ones(5))}, "keep is tensor"),
    "no tensor": ({"keep": says([1, 0])}, "keep is [1, 0]; make it None, or a tensor that fits (3, 4, 4)"),
    "a std for each entry": ({"noise_std": says(torch.ones(3, 4, 4))}, "noise_std is tensor"),
    "a negative std": ({"noise_std": says(-0.5)}, "noise_std is -0.5; make it a number of 0 or more"),
    "an infinite std": ({"noise_std": says(math.inf)}, "noise_std is inf"),
    "bits": ({"bits": "many"}, "bits is 'many'; make it a number above 0"),
    "no bits": ({"bits": 0}, "bits is 0"),
    "one word": ({"adaptive": "draws"}, "adaptive is 'draws'; make it a frozenset of some of draws, "),
    "another word": ({"adaptive": frozenset({"tricks"})}, "adaptive is frozenset({'tricks'})"),
    "phases": ({"phases": ("one", "two")}, "phases is ('one', 'two'); make it a tuple of Phase"),
}


@pytest.mark.parametrize("what", SAID)
def test_what_a_defence_says_of_itself_is_held_against_its_readers(what: str) -> None:
    said, told = SAID[what]
    model = Defended(Net(), {"own": type("Own", (Defense,), said)()}, SPEC)  # type: ignore[arg-type]
    with pytest.raises(UserError) as error:
        declared.require(model)
    assert str(error.value).startswith(f"defense.own: {told}")


def test_shipped_words_pass_and_all_problems_are_told() -> None:
    fits = {"keep": says(torch.ones(1, 4, 1)), "bits": 0.5, "adaptive": frozenset({"mask"}), "noise_std": says(2)}
    declared.require(Defended(Net(), {"own": type("Own", (Defense,), fits)()}, SPEC))  # type: ignore[arg-type]
    wrong = type("Own", (Defense,), {"bits": "many", "keep": says(3)})
    with pytest.raises(UserError) as error:
        declared.require(Defended(Net(), {"own": wrong(), "other": wrong()}, SPEC))  # type: ignore[arg-type]
    assert len(error.value.problems) == 4


@pytest.mark.parametrize(("said", "told"), [
    ({"facts": says([1])}, "facts are"), ({"facts": says({"a": torch.ones(2)})}, "facts are"),
    ({"facts": says({1: 2.0})}, "facts are"), ({"pull": lambda self, batch, rates: None}, "pull returns None"),
])  # fmt: skip
def test_what_a_row_cannot_hold_of_a_trained_defence_is_told(said: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=f"defense.own: {told}"):
        declared.facts("own", type("Own", (Defense,), said)(), 8, [0.1])


@pytest.mark.parametrize("hook", ["adversary_optimizer", "adversary_loss"])
def test_an_adversary_that_lacks_a_part_is_told(hook: str) -> None:
    with pytest.raises(UserError, match=f"Defense has adversary_parameters; write its {hook}"):
        getattr(Defense(), hook)(*((None, None) if hook == "adversary_loss" else ()))


def test_a_cloud_leaves_the_release_as_it_is() -> None:
    net = Net()
    net.cloud = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 2))
    model = Defended(net, {}, SPEC).eval()  # type: ignore[arg-type]
    with torch.no_grad(), pytest.raises(UserError, match="backbone: the cloud changes in place"):
        model.classify(torch.randn(2, 3, 4, 4))


class Rain(nn.Module):
    """An edge that is random wherever it runs."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.conv, self.rate = nn.Conv2d(1, 3, 1), rate

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.conv(x), self.rate)


class Drizzle(Defense):
    """A random link that declares nothing."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z + torch.rand_like(z)


def test_whatever_draws_asks_for_who_averages_it() -> None:
    net = Net()
    net.cloud = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    links = {"noise": Noise(sigma=0.1), "own": Drizzle(), "none": Defense()}
    model = Defended(net, links, SPEC).eval()  # type: ignore[arg-type]
    assert adaptive(model) == {"noise": ["draws"], "own": ["draws"], "none": []}
    net.edge, net.cloud = Rain(0.5), nn.Sequential(net.cloud, Always())
    assert adaptive(model) == {
        "noise": ["draws"],
        "own": ["draws"],
        "none": [],
        "edge": ["draws"],
        "cloud": ["answers"],
    }


class Always(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.dropout(z, 0.5)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_features_of_a_random_edge_are_drawn_anew_and_have_no_bounds(rate: float) -> None:
    torch.manual_seed(0)
    net = Net()
    net.edge = Rain(rate)
    model, spec = Defended(net, {"noise": Noise(sigma=0.1)}, SPEC).eval(), replace(SPEC, entropy=1.0)  # type: ignore[arg-type]
    before = torch.get_rng_state()
    assert input_is_fixed(model) == (rate == 0)
    assert torch.equal(before, torch.get_rng_state()) and not model.training
    x, y = torch.rand(64, 1, 4, 4), torch.zeros(64, dtype=torch.long)
    aux = Aux(Split(x, y, y, {}), model.features, lambda z: z, input_is_fixed(model))
    one, two = (aux.release(torch.arange(64), 4) for _ in range(2))
    assert torch.equal(one, two) == (rate == 0)
    assert bool(bounds(model, aux.split, spec)) == (rate == 0)
