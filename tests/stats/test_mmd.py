"""The kernel distance between two samples, in closed form where it has one."""

from __future__ import annotations

import math

import pytest
import torch

from splitpriv.stats.mmd import MULTIPLES, mk_mmd


def test_two_points_have_the_closed_form() -> None:
    """Of two points the mean squared distance is their own, whatever it is: 2 sum (1 - exp(-1 / m))."""
    wanted = 2 * sum(1 - math.exp(-1 / m) for m in MULTIPLES)
    for far in (0.5, 30.0):
        found = mk_mmd(torch.zeros(1, 3, dtype=torch.double), torch.full((1, 3), far, dtype=torch.double))
        assert found.item() == pytest.approx(wanted)
    assert wanted == pytest.approx(7.7432, abs=1e-4)


def test_equal_samples_are_at_zero_and_other_laws_are_not() -> None:
    torch.manual_seed(0)
    a = torch.randn(200, 2, 3)
    assert mk_mmd(a, a).abs() < 1e-6
    near, moved, wide = (mk_mmd(a, b) for b in (torch.randn(200, 2, 3), torch.randn(200, 2, 3) + 1,
                                                3 * torch.randn(200, 2, 3)))  # fmt: skip
    assert near < 0.1 * moved and near < 0.1 * wide
    assert torch.isfinite(mk_mmd(torch.ones(4, 2), torch.ones(4, 2)))
