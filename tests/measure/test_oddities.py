"""Defences that mislead attacks without protecting anything: each raises its flag, and sound ones raise none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.dropout import Dropout
from splitpriv.defenses.noise import Noise
from splitpriv.defenses.quantize import Quantize
from splitpriv.defenses.topk import TopK
from splitpriv.measure.checks import Facts, doubts
from splitpriv.measure.oddities import oddities
from splitpriv.types import Spec

FLOORS: dict[str, Any] = {"mean_image": {"mse": 0.08}, "random_image": {"mse": 0.15}}
X = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.edge, self.cloud = nn.Conv2d(1, 4, 3), nn.Identity()


class Rounded(Defense):
    """Rounds without a straight-through gradient."""

    def after_edge(self, z: Tensor) -> Tensor:
        return (8 * z).round() / 8


class Pedestal(Defense):
    """Everything there, on a pedestal."""

    def after_edge(self, z: Tensor) -> Tensor:
        return 100 + 1e-3 * z


class Shrunk(Defense):
    """Everything there, tiny."""

    def after_edge(self, z: Tensor) -> Tensor:
        return 1e-5 * z


class Drifting(Defense):
    """Adds what it has seen so far."""

    def attach(self, model: Defended, spec: Spec, shape: tuple[int, ...]) -> None:
        self.register_buffer("seen", torch.zeros(shape))

    def after_edge(self, z: Tensor) -> Tensor:
        self.seen = 0.9 * self.seen + 0.1 * z.detach().mean(0)
        return z + self.seen


class Crowd(Defense):
    """Takes away what all images of a batch share."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z - z.mean(0)


def found(*chain: Defense) -> dict[str, float]:
    torch.manual_seed(0)
    net: Any = Net()
    model = Defended(net, {f"d{i}": link for i, link in enumerate(chain)}, Spec((1, 8, 8), 2)).eval()
    before = torch.get_rng_state()
    release = oddities(model.requires_grad_(False), X)
    assert torch.equal(torch.get_rng_state(), before)
    return release


def kinds(release: dict[str, float], **changed: Any) -> list[str]:
    attacks = {"a": Facts({"mse": 0.02}), "b": Facts({"mse": 0.02})}
    return [flag.kind for flag in doubts(attacks, **FLOORS, release=release, **changed)]


@pytest.mark.parametrize(
    ("toy", "kind"),
    [(Rounded, "gradient"), (Pedestal, "still"), (Shrunk, "scale"), (Drifting, "state"), (Crowd, "state")],
)
def test_every_toy_trips_its_flag_and_no_other(toy: type[Defense], kind: str) -> None:
    assert set(kinds(found(toy()))) == {kind}


@pytest.mark.parametrize(
    "chain",
    [(), (Noise(sigma=0.1),), (Dropout(rate=0.5),), (Quantize(bits=3, lo=None, hi=None),),
     (TopK(keep=0.3, by="value", scope="sample"), Noise(sigma=0.1))],
)  # fmt: skip
def test_honest_chains_trip_none(chain: tuple[Defense, ...]) -> None:
    assert kinds(found(*chain)) == []


def test_a_share_of_the_whole_batch_depends_on_company() -> None:
    assert kinds(found(TopK(keep=0.3, by="value", scope="batch"))) == ["state"]


def test_a_release_without_the_image_is_constant_and_no_more() -> None:
    class Nothing(Defense):
        def after_edge(self, z: Tensor) -> Tensor:
            return torch.zeros_like(z)

    assert kinds(found(Nothing()), signal=0.0) == ["constant"]


def test_an_attack_that_lacks_images_is_starved() -> None:
    attacks = {"a": Facts({"mse": 0.02}, gain=0.2), "b": Facts({"mse": 0.02}, gain=0.01)}
    flags = doubts(attacks, **FLOORS)
    assert [(flag.kind, flag.subject) for flag in flags] == [("starved", "a")]
    assert "20%" in flags[0].text and not flags[0].remedy
    assert doubts(attacks, **FLOORS, spare="protocol.limit.aux=800")[0].remedy == "protocol.limit.aux=800"
