"""DISCO (Singh et al., CVPR 2021): which channels go, who learns from what, and that what is dropped is gone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.contract.base import composed
from splitpriv.defenses.disco import Disco
from splitpriv.targets import build
from splitpriv.types import Shape, Spec, Step, UserError

SPEC, SHAPE = Spec((1, 8, 8), 2, {"side": 2}), (6, 4, 4)


def disco(shape: Shape = SHAPE, **changes: Any) -> Disco:
    torch.manual_seed(0)
    node = copy.deepcopy(composed("defense=[disco]")["defense"]["disco"]) | changes
    node["decoder"] |= {"width": 4, "widest": 4}
    defense: Disco = build(node, "defense.disco")()
    defense.attach(None, SPEC, shape)
    return defense


def features(n: int = 8, shape: Shape = SHAPE) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1)) + 0.5


def step(n: int = 8) -> Step:
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    return Step(x, torch.arange(n) % 2, {"side": torch.arange(n) // 4}, nn.Identity(), "fit", 1, 0.5, 0.05)


class Fixed(nn.Module):
    """A pruner with the same scores for all images."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, z: Tensor) -> Tensor:
        return self.scores.expand(len(z), -1) + 0 * z.flatten(1).sum(1, keepdim=True)


def test_the_mask_is_the_printed_one() -> None:
    defense = disco(ratio=0.5, temperature=0.5)
    defense.pruner = Fixed([0.3, -1.0, 2.0, 0.0, 0.5, 1.0])
    soft = torch.sigmoid((torch.tensor([0.3, -1.0, 2.0, 0.0, 0.5, 1.0]) - 0.3) / 0.5)  # the third lowest of six is 0.3
    assert torch.allclose(defense.mask(features(), hard=False)[0].flatten(), soft)
    hard = defense.mask(features(), hard=True)[0].flatten()
    assert hard.tolist() == [0, 0, 1, 0, 1, 1]


def test_a_ratio_that_drops_no_channel_is_refused() -> None:
    with pytest.raises(UserError, match=r"^\.ratio: 0.1 of the channels is 0 of 6, .*give at least 0.167, or 0"):
        disco(ratio=0.1)


@pytest.mark.parametrize("shape", [(6, 4, 4), (5, 6), (6,)], ids=["map", "tokens", "vector"])
def test_r_of_the_channels_of_each_image_leave_as_zeros(shape: Shape) -> None:
    z = features(shape=shape)
    for ratio, gone in ((0.0, 0), (0.17, 1), (0.34, 2), (0.99, 5)):
        sent = disco(shape, ratio=ratio).eval().after_edge(z)
        channels = sent.flatten(2) if len(shape) == 3 else sent.view(len(z), -1, shape[-1]).mT
        dropped = (channels == 0).all(2)
        assert dropped.sum(1).tolist() == [gone] * len(z)
        assert torch.equal(
            channels[~dropped], (z.flatten(2) if len(shape) == 3 else z.view(len(z), -1, 6).mT)[~dropped]
        )


def test_a_soft_mask_at_deployment_gives_all_of_z_back_and_a_hard_one_does_not() -> None:
    """What the public codes release: dropped channels are small, and dividing by the mask restores them."""
    z = features()
    for hard in (False, True):
        defense = disco(hard=hard, ratio=0.5, temperature=0.2).eval()
        sent = defense.after_edge(z)
        undone = sent / defense.mask(z, hard=False)  # which a white box finds by a search over images
        assert torch.allclose(undone, z, rtol=1e-3, atol=1e-5) == (not hard)
        assert ((sent == 0).float().mean() == 0.5) == hard


@pytest.mark.parametrize("against", ["image", "attribute"])
def test_the_adversary_teaches_the_pruner_alone_and_the_pruner_does_not_teach_the_adversary(against: str) -> None:
    z, now = features(), step()
    defense = disco(against=against).train()
    foe = {id(p) for p in defense.adversary_parameters()}
    pruner = list(defense.pruner.parameters())
    assert foe and not foe & set(map(id, pruner))
    moved = z.clone().requires_grad_()
    defense.penalty(moved, now).backward()
    assert moved.grad is None  # edge and cloud learn from the task alone
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in pruner)
    assert all(p.grad is None for p in defense.adversary_parameters())
    for p in pruner:
        p.grad = None
    defense.adversary_loss(z, now).backward()
    assert all(p.grad is None for p in pruner)
    assert all(p.grad is not None for p in defense.adversary_parameters())


def test_a_step_of_the_pruner_raises_the_adversary_s_loss() -> None:
    z, now = features(), step()
    defense = disco(weight=2.0, temperature=1.0).train()
    value = defense.penalty(z, now)
    loss = (defense.foe.frozen(defense.after_edge(z)) - now.x).square().mean()
    assert value.item() == pytest.approx(-2 * loss.item(), rel=1e-4)
    optimizer = torch.optim.SGD(defense.pruner.parameters(), lr=1.0)
    for _ in range(10):
        optimizer.zero_grad()
        defense.penalty(z, now).backward()
        optimizer.step()
    assert defense.penalty(z, now) < value


def test_no_gradient_is_hidden_from_a_white_box() -> None:
    """In training the mask is cut from the edge; at deployment a search gets the slope of what is released."""
    defense = disco(hard=False, temperature=0.5).double().eval()
    z = features(2).double()
    assert torch.autograd.gradcheck(defense.after_edge, z[:, :, :2, :2].clone().requires_grad_(), atol=1e-4)
