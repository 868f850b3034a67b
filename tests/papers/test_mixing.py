"""Mixing of labels and of features: label smoothing (Struppek et al. 2024) and mixup (Zhang et al. 2018)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.label_smoothing import LabelSmoothing
from splitpriv.defenses.mixup import Mixup
from splitpriv.defenses.tl_dmi import TlDmi
from splitpriv.types import Phase, Spec, Step, UserError

SPEC, Y = Spec((1, 4, 4), 3), torch.tensor([0, 1, 2, 1, 0, 2])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.edge = nn.Sequential(nn.Conv2d(1, 2, 1))
        self.cloud = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))


def defended(link: Defense, **later: Defense) -> Defended:
    return Defended(Net(), {"it": link, **later}, SPEC)  # type: ignore[arg-type]


def step(x: Tensor, epoch: int = 99) -> Step:
    return Step(x, Y, {}, nn.Identity(), "fit", epoch, epoch / 100, 0.05, 100)


def total(model: Defended, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a step as the engine makes it, the logits, and z."""
    z = model.features(x)
    logits = model.classify(model.obfuscate(z))
    link: Any = model.chain["it"]
    return F.cross_entropy(logits, Y) + link.penalty(z, step(x)), logits, z


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(6, 1, 4, 4)


@pytest.mark.parametrize("alpha", [-0.3, -0.05, 0.0, 0.2])
def test_the_loss_is_the_printed_one_of_either_sign(alpha: float, x: Tensor) -> None:
    loss, logits, _ = total(defended(LabelSmoothing(alpha=alpha, start=0.0, full=0.0)), x)
    logs = logits.log_softmax(1)
    printed = (1 - alpha) * F.nll_loss(logs, Y) - alpha * logs.mean(1).mean()
    assert loss.item() == pytest.approx(printed.item(), rel=1e-5)
    if alpha >= 0:
        assert loss.item() == pytest.approx(F.cross_entropy(logits, Y, label_smoothing=alpha).item(), rel=1e-5)


def test_alpha_rises_as_the_authors_schedule_has_it() -> None:
    it = LabelSmoothing(alpha=-0.05, start=0.5, full=0.75)
    found = [it.weight(e, 100) for e in (0, 49, 50, 60, 74, 75, 99)]
    assert found == pytest.approx([0, 0, -0.05 / 25, -0.05 * 11 / 25, -0.05, -0.05, -0.05])
    model, x = defended(it), torch.rand(6, 1, 4, 4)
    assert it.penalty(model.features(x), step(x, 49)) == 0 != it.penalty(model.features(x), step(x, 50))
    assert it.adaptive == TlDmi.adaptive == {"network"}  # of a release neither hides anything
    sudden = LabelSmoothing(alpha=-0.05, start=0.5, full=0.5)
    assert [sudden.weight(e, 100) for e in (49, 50)] == [0, -0.05]
    assert LabelSmoothing(alpha=-0.05, start=0.0, full=0.0).weight(0, 0.5) == -0.05
    with pytest.raises(UserError, match=r"^\.full: 0.2 comes before start = 0.5"):
        LabelSmoothing(alpha=-0.05, start=0.5, full=0.2)


def test_both_speak_of_the_answers_to_what_was_sent(x: Tensor) -> None:
    """Once a step: what a later link did to z is in them, and the cloud is not asked a second time."""

    class Double(Defense):
        def after_edge(self, z: Tensor) -> Tensor:
            return 2 * z

    model = defended(LabelSmoothing(alpha=-0.3, start=0.0, full=0.0), later=Double())
    asked = []
    model.net.cloud.register_forward_hook(lambda *_: asked.append(1))
    loss, logits, _ = total(model, x)
    logs = logits.log_softmax(1)
    assert loss.item() == pytest.approx((1.3 * F.nll_loss(logs, Y) + 0.3 * logs.mean(1).mean()).item(), rel=1e-5)
    assert len(asked) == 1
    assert model.chain["it"].answers.logits is None


def test_the_answers_are_those_of_a_head_that_a_later_link_put_in(x: Tensor) -> None:
    """As MID does; what was heard of the head before would be of no release at all."""

    class Other(Defense):
        def attach(self, model: Defended, spec: Spec, shape: Any) -> None:
            model.net.cloud[-1] = nn.Linear(32, 3)

    model = defended(Mixup(share=0.3, bank=4), later=Other())
    for _, link in model.defenses():
        link.on_phase_start(Phase("fit"), model)
    loss, logits, _ = total(model, x)
    y = 0.7 * F.one_hot(Y, 3).float() + 0.3 * F.one_hot(Y.roll(1), 3).float()
    assert loss.item() == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)


def test_mixup_trains_on_mixed_features_and_mixed_labels(x: Tensor) -> None:
    model = defended(Mixup(share=0.3, bank=4))
    loss, logits, z = total(model, x)
    mixed = 0.7 * z + 0.3 * z.roll(1, 0)
    assert torch.allclose(model.classify(mixed), logits)
    y = 0.7 * F.one_hot(Y, 3).float() + 0.3 * F.one_hot(Y.roll(1), 3).float()
    assert loss.item() == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)


def test_at_deployment_mixup_takes_a_remembered_image_afresh_and_looks_at_no_other_of_the_batch(x: Tensor) -> None:
    model = defended(Mixup(share=0.3, bank=4)).eval()
    it: Any = model.chain["it"]
    z = model.features(x).detach()
    it.on_step_end(z[:3], step(x))
    it.on_step_end(z[3:], step(x))
    assert torch.equal(it.bank, torch.cat([z[3:], z[:1]]))  # the last ones
    other = (it.after_edge(z) - 0.7 * z) / 0.3
    assert (torch.cdist(other.flatten(1), it.bank.flatten(1)).min(1).values < 1e-4).all()
    draws = torch.stack([it.after_edge(z[:1]) for _ in range(400)])
    assert len(draws.flatten(1).unique(dim=0)) == 4
    assert torch.allclose(draws.mean(0), it.expected(z[:1]), atol=0.05)
    assert it.adaptive == {"draws"}  # averaging gives all of z back
    assert torch.allclose((it.expected(z) - 0.3 * it.bank.mean(0)) / 0.7, z, atol=1e-5)
