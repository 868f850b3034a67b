"""Quantisation: the grid, the number of levels, the size of a release, and the straight-through gradient."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from splitpriv.defenses.quantize import Quantize
from splitpriv.targets import build
from splitpriv.types import Spec, UserError


def features(seed: int = 0) -> Tensor:
    return torch.randn(5, 8, 5, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_fixed_range_has_its_levels(bits: int) -> None:
    z = torch.linspace(-3, 3, 4 * 2000).view(4, 5, 20, 20)
    released = Quantize(bits=bits, lo=-1.0, hi=1.0).after_edge(z)
    grid = torch.linspace(-1, 1, 2**bits)
    distance = (released.unsqueeze(-1) - grid).abs().min(-1)
    assert distance.values.max() < 1e-6
    assert len(distance.indices.unique()) == 2**bits
    inside = z.abs() <= 1
    assert (released - z)[inside].abs().max() <= 1 / (2**bits - 1) + 1e-6
    assert torch.equal(released[z > 1], torch.full_like(released[z > 1], released.max().item()))
    assert released[z > 1].max().item() == pytest.approx(1.0, abs=1e-6)
    assert (released[z < -1] == -1).all()


@pytest.mark.parametrize("bits", [1, 3, 6])
def test_a_free_range_is_that_of_each_sample(bits: int) -> None:
    z = features() * torch.arange(1, 6).view(-1, 1, 1, 1)
    released = Quantize(bits=bits, lo=None, hi=None).after_edge(z)
    for one, before in zip(released, z, strict=True):
        assert len(one.unique()) <= 2**bits
        assert one.min() == before.min()
        assert one.max().item() == pytest.approx(before.max().item(), rel=1e-5)
        step = (before.max() - before.min()) / (2**bits - 1)
        assert (one - before).abs().max() <= step / 2 + 1e-5
        level = (one - before.min()) / step
        assert (level - level.round()).abs().max() < 1e-3


def test_no_lower_bits_leak_when_a_gradient_is_recorded() -> None:
    z = features()
    defense = Quantize(bits=2, lo=-1.0, hi=1.0)
    recorded = defense.after_edge(z.clone().requires_grad_()).detach()
    assert torch.equal(recorded, defense.after_edge(z))
    assert len(recorded.unique()) == 4


@pytest.mark.parametrize("lo", [-0.5, None])
def test_the_gradient_is_one_everywhere(lo: float | None) -> None:
    z = features().requires_grad_()
    weight = features(1)
    (Quantize(bits=1, lo=lo, hi=None if lo is None else 0.5).after_edge(z) * weight).sum().backward()
    assert torch.equal(z.grad, weight)


def test_a_release_counts_its_bits_and_its_range() -> None:
    fixed, free = Quantize(bits=4, lo=0.0, hi=1.0), Quantize(bits=4, lo=None, hi=None)
    for defense in (fixed, free):
        defense.attach(None, Spec((3, 8, 8), 2), (8, 4, 4))
    assert fixed.bits == 4
    assert free.bits == 4 + 64 / 128


@pytest.mark.parametrize("value", [0.0, 3.5, -1e-30, 1e30])
def test_a_constant_sample_stays(value: float) -> None:
    z = torch.full((2, 6), value)
    assert torch.equal(Quantize(bits=3, lo=None, hi=None).after_edge(z), z)


@pytest.mark.parametrize(("lo", "hi", "said"), [
    (0.0, None, "only one end of the range is given; set both"),
    (None, 1.0, "only one end of the range is given; set both"),
    (1.0, 1.0, "1.0 is not below hi = 1.0; set lo < hi"),
])  # fmt: skip
def test_an_empty_or_half_given_range_is_refused(lo: float | None, hi: float | None, said: str) -> None:
    node = {"_target_": "splitpriv.defenses.quantize.Quantize", "bits": 4, "lo": lo, "hi": hi}
    with pytest.raises(UserError, match=rf"^defense\.quantize\.lo: {re.escape(said)}"):
        build(node, "defense.quantize")()
