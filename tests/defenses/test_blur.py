"""Blur: the operator, its borders, and that attacks see it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from shipped import composed
from small import changed

from splitpriv.contract.defenses import images, model
from splitpriv.defenses.blur import Blur
from splitpriv.types import Spec, UserError


def blur(size: float, kind: Any, shape: tuple[int, int, int]) -> Blur:
    made = Blur(size=size, kind=kind, at="image")
    made.attach(None, Spec(shape, 2), shape)  # type: ignore[arg-type]
    return made


def test_a_gaussian_keeps_the_sum_and_spreads_a_point_by_its_deviation() -> None:
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    blurred = blur(2.0, "gaussian", (1, 31, 31)).before_edge(point)
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5)
    offsets = torch.arange(31) - 15
    assert (blurred.sum(-1).squeeze() * offsets**2).sum().sqrt().item() == pytest.approx(2.0, rel=0.02)
    assert torch.allclose(blurred, blurred.mT)
    flat = torch.full((2, 3, 5, 7), 0.4)
    for size in (0.5, 40.0):  # reflected borders, as often as it takes
        assert torch.allclose(blur(size, "gaussian", (3, 5, 7)).before_edge(flat), flat, atol=1e-6)


def test_pixelation_is_the_mean_of_blocks() -> None:
    x = torch.rand(2, 1, 5, 6)
    made = blur(2.0, "pixelate", (1, 5, 6)).before_edge(x)
    assert torch.allclose(made[0, 0, 0, 0], x[0, 0, :2, :2].mean())
    assert torch.allclose(made[0, 0, 4, 5], x[0, 0, 4, 4:].mean())  # a block that the border cuts
    assert made.flatten(1).unique(dim=1).shape[1] <= 9
    whole = blur(64.0, "pixelate", (1, 5, 6)).before_edge(x)
    assert torch.allclose(whole, x.mean((-2, -1), keepdim=True).expand_as(x), atol=1e-6)


@pytest.mark.parametrize("at", ["image", "feature"])
def test_it_acts_where_it_says_and_attacks_see_the_operator(at: str) -> None:
    target = model(changed(composed("defense=[blur]"), "defense.blur.at", at)).eval()
    x, defense = images().images, target.chain["blur"]
    edge = target.net.edge(x)
    wanted = target.net.edge(defense.smooth(x)) if at == "image" else defense.smooth(edge)
    assert torch.allclose(target.release(x), wanted)
    assert not torch.allclose(wanted, edge, atol=1e-3)
    assert torch.equal(target.expected(x), target.release(x))
    free = x.clone().requires_grad_()
    assert torch.autograd.grad(target.expected(free).sum(), free)[0].abs().min(1).values.max() > 0


def test_what_cannot_be_blurred_is_refused() -> None:
    with pytest.raises(UserError, match=r"^\.size: blocks of 0.5 pixels"):
        Blur(size=0.5, kind="pixelate", at="image")
    with pytest.raises(UserError, match=r"^\.size: blocks of 1.4 pixels are none; give at least 2"):
        Blur(size=1.4, kind="pixelate", at="image")
    with pytest.raises(UserError, match=r"^\.size: a deviation of 0.1 pixels blurs nothing; give at least 0.2"):
        Blur(size=0.1, kind="gaussian", at="image")
    cfg = changed(composed("defense=[blur]"), "defense.blur.at", "feature")
    node = {"_target_": "splitpriv.nets.small.lenet5", "weights": None, "head": "keep"}
    with pytest.raises(UserError, match=r"defense\.blur\.at: z of shape"):
        model({**cfg, "backbone": node, "split": {"at": "fc1", "bottleneck": None}}, 28)
