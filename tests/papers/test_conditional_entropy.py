"""Entropy by neighbours and by an epoch's prototypes: the amounts, the pull within a class, and the need of noise."""

from __future__ import annotations

import math

import pytest
import torch
from shipped import composed

from splitpriv.contract.defenses import images, model, step_of
from splitpriv.defenses.parts.prototypes import PrototypeLoss
from splitpriv.stats.kmeans import Clusters, Table
from splitpriv.types import UserError


@pytest.mark.parametrize("name", ["knn_entropy", "uacem"])
def test_without_noise_shrinking_would_do_and_it_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"^defense\.{name}\.weight: .*defense=\[{name},noise\]"):
        model(composed(f"defense=[{name}]"))


def test_the_information_of_a_constant_z_is_none_and_a_spread_one_has_more() -> None:
    torch.manual_seed(0)
    target = model(composed("defense=[knn_entropy,noise]", "defense.noise.sigma=0.5"))
    defense, data = target.chain["knn_entropy"], images()
    step = step_of(target, data)
    few = torch.randn(24, 2, 1, 1)
    none, some, much = (float(defense.penalty(s * few, step)) / defense.weight for s in (0.0, 1.0, 4.0))
    assert none == pytest.approx(0, abs=0.25)
    assert some == pytest.approx(0.5 * math.log(1 + 1 / 0.25), abs=0.35)
    assert much > some + 0.8


def test_prototypes_pull_within_the_class_in_units_of_their_spread() -> None:
    loss = PrototypeLoss(2, 2, 3, uncertainty=True)
    z, y = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1])
    assert loss(z, y, 0.1).item() == 0  # before the first refit
    points = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [10, 0, 0], [12, 2, 0]], [[5.0, 5, 5]] * 4])
    member = torch.tensor([[[1.0, 0], [1, 0], [0, 1], [0, 1]], [[1.0, 0]] * 4])
    centres = torch.tensor([[[1.0, 0, 0], [11, 1, 0]], [[5.0, 5, 5], [99, 99, 99]]])
    mask = torch.ones(2, 4, dtype=torch.bool)
    loss.refit(Table(points, mask, torch.tensor(8)), Clusters(centres, member, member.sum(1)))
    assert torch.equal(loss.variance[0], torch.tensor([[1.0, 0, 0], [1, 1, 0]]))
    near = torch.tensor([[1.5, 0.0, 0.1]])
    wanted = 0.5 * (0.25 / 1.25 + 0 + 0.01 / 0.25) / 3
    assert loss(near, torch.tensor([0]), 0.5).item() == pytest.approx(wanted, rel=1e-4)
    between = torch.tensor([[6.0, 0.5, 0.0]])
    certain = PrototypeLoss(2, 2, 3, uncertainty=False)
    certain.load_state_dict(loss.state_dict())
    plain, weighed = (net(between, torch.tensor([0]), 5.0).item() for net in (certain, loss))
    assert weighed < 0.7 * plain
