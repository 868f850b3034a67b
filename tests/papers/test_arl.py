"""Attribute adversaries: ARL, MaxEnt-ARL (Roy & Boddeti, CVPR 2019) and both adversaries at once (DeepObfuscator)."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.contract.base import composed
from splitpriv.defenses.adversarial import Adversarial
from splitpriv.defenses.arl import Arl
from splitpriv.defenses.base import Defended, Defense
from splitpriv.stats.ssim import ssim
from splitpriv.targets import build
from splitpriv.types import Spec, Step, UserError

SPEC, SHAPE = Spec((1, 8, 8), 2, {"side": 3, "hand": 2}), (4, 4, 4)
ATTRIBUTE = ["arl", "maxent", "aioi", "deepobfuscator"]


def made(name: str, spec: Spec = SPEC, **changes: Any) -> Any:
    node = copy.deepcopy(composed(f"defense=[{name}]")["defense"][name]) | changes
    defense = build(node, f"defense.{name}")()
    defense.attach(None, spec, SHAPE)
    return defense


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Step]:
    """Features, and the step that they come from."""
    torch.manual_seed(0)
    x, place = torch.rand(12, 1, 8, 8), torch.arange(12)
    step = Step(x, place % 2, {"side": place % 3, "hand": place // 6}, nn.Identity(), "fit", 1, 0.5, 0.05)
    return torch.randn(12, *SHAPE), step


def guess(defense: Arl, name: str, logits: Tensor) -> None:
    """Make the adversary for `name` answer `logits` (values,) to everything."""
    last = next(m for m in reversed(list(defense.guesser.nets[name].modules())) if isinstance(m, nn.Linear))
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(logits)


def test_the_terms_of_uniform_and_of_certain_guesses_are_known(batch: Any) -> None:
    """H and CE are log 3 + log 2 at uniform; for a certain guess H is 0, and CE what is wrong times how certain."""
    z, step = batch
    arl, maxent = made("arl", weight=2.0), made("maxent", weight=2.0)
    for defense in (arl, maxent):
        for name, values in SPEC.attributes.items():
            guess(defense, name, torch.zeros(values))
        assert defense.penalty(z, step).item() == pytest.approx(-2 * math.log(6), rel=1e-6)
        guess(defense, "side", torch.tensor([50.0, 0.0, 0.0]))
    assert maxent.penalty(z, step).item() == pytest.approx(-2 * math.log(2), rel=1e-6)
    assert arl.penalty(z, step).item() == pytest.approx(-2 * (50 * 2 / 3 + math.log(2)), rel=1e-6)


def test_what_makes_the_adversary_wrong_pays_arl_and_not_maxent() -> None:
    """The flipped label: ARL's edge wants q certain of the wrong value, MaxEnt's wants it to know nothing."""
    truth = {"s": torch.zeros(4, dtype=torch.long)}
    step: Any = type("Seen", (), {"attributes": truth})
    worth = {}
    for name in ("arl", "maxent"):
        defense = made(name, weight=1.0)
        for wrong in (0.0, 8.0):
            logits = torch.tensor([[0.0, wrong]]).expand(4, 2)
            defense.guesser.frozen = lambda z, logits=logits: {"s": logits}
            worth[name, wrong] = defense.penalty(torch.zeros(4), step).item()
    assert worth["arl", 8.0] < worth["arl", 0.0]
    assert worth["maxent", 8.0] > worth["maxent", 0.0]


def test_aioi_is_the_square_of_what_exceeds_the_budget_and_knows_how_frequent_values_are(batch: Any) -> None:
    z, step = batch
    defense = made("aioi", weight=2.0, budget=0.1)
    rare = {**step.attributes, "side": (torch.arange(12) == 0).long() * 2}  # 11 times 0, never 1, once 2
    for _ in range(500):
        defense.on_step_end(z, replace(step, attributes=rare))
    frequent = torch.tensor([11 / 12, 1e-9, 1 / 12]).log()
    for name, logits in (("side", frequent), ("hand", torch.zeros(2))):
        guess(defense, name, logits)
    assert defense.penalty(z, step).item() == pytest.approx(0, abs=1e-6)  # q guesses as who sees nothing
    guess(defense, "hand", torch.tensor([50.0, 0.0]))  # log 2 nats: certain of one of two
    assert defense.penalty(z, step).item() == pytest.approx(2 * (math.log(2) - 0.1) ** 2, rel=1e-3)
    guess(defense, "side", torch.zeros(3))  # what maxent wants is here as wrong as it is
    assert defense.penalty(z, step).item() > 2 * (math.log(2) - 0.1) ** 2 + 1


@pytest.mark.parametrize("name", [*ATTRIBUTE, "pan"])
def test_who_learns_from_what(name: str, batch: Any) -> None:
    z, step = batch
    defense = made(name)
    before = {k: v.clone() for k, v in defense.state_dict().items()}
    moved = z.clone().requires_grad_()
    defense.penalty(moved, step).backward()
    assert moved.grad.abs().max() > 0
    assert all(p.grad is None for p in defense.parameters())  # frozen, and statistics too
    assert all(torch.equal(v, before[k]) for k, v in defense.state_dict().items())
    optimizer, losses = defense.adversary_optimizer(), []
    for _ in range(15):
        optimizer.zero_grad()
        losses.append(defense.adversary_loss(z, step))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in defense.adversary_parameters())


def test_deepobfuscator_is_the_sum_of_both_adversaries_terms(batch: Any) -> None:
    z, step = batch
    defense = made("deepobfuscator", image=2.0, private=0.5)
    seen = ssim(defense.decoder.frozen(z), step.x, "zero").mean()
    told = sum(F.cross_entropy(q, step.attributes[n]) for n, q in defense.guesser.frozen(z).items())
    assert defense.penalty(z, step).item() == pytest.approx((2 * seen - 0.5 * told).item(), rel=1e-5)
    learnt = defense.decoder.loss(z, step.x) + defense.guesser.loss(z, step)
    assert defense.adversary_loss(z, step).item() == pytest.approx(learnt.item(), rel=1e-4)


def test_pan_is_minus_the_absolute_error_up_to_the_ceiling(batch: Any) -> None:
    z, step = batch
    defense: Adversarial = made("pan")
    error = (defense.decoder.frozen(z) - step.x).abs().mean().item()
    assert defense.penalty(z, step).item() == pytest.approx(-11.5 * error, rel=1e-5)
    defense.ceiling = 0.01
    assert defense.penalty(z, step).item() == pytest.approx(-0.115, rel=1e-5)
    defense.ceiling = "floor"
    floor = (step.x - step.x.mean(0)).abs().mean().item()
    assert defense.penalty(z, step).item() == pytest.approx(-11.5 * min(error, floor), rel=1e-5)


@pytest.mark.parametrize("name", ATTRIBUTE)
def test_an_attribute_that_the_data_lack_is_refused_under_the_link_s_name(name: str) -> None:
    node = composed(f"defense=[{name}]")["defense"][name]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.edge, self.cloud = nn.Sequential(nn.Conv2d(1, 4, 2, 2)), nn.Sequential(nn.Flatten())

    def attach(spec: Spec, **changes: Any) -> None:
        link: Defense = build(copy.deepcopy(node) | changes, "defense.mine")()
        Defended(Net(), {"mine": link}, spec)  # type: ignore[arg-type]

    attach(SPEC, attribute="hand")
    for spec, changes, said in (
        (SPEC, {"attribute": "race"}, r"has no 'race'; choose one of side, hand"),
        (Spec((1, 8, 8), 2), {"attribute": "race"}, r"has no 'race'; it has none at all"),
        (Spec((1, 8, 8), 2), {}, r"no private attribute; choose one that has"),
    ):
        with pytest.raises(
            UserError, match=rf"^defense\.mine\.attribute: the data set has {said.removeprefix('has ')}"
        ):
            attach(spec, **changes)
