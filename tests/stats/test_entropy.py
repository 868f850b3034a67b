"""The k-NN entropy: closed forms, classes, gradients, and no question to the device."""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv.stats.entropy import knn_entropy


@pytest.mark.parametrize(("size", "k"), [(1, 1), (2, 3), (4, 5)])
def test_it_comes_near_the_entropy_of_gaussians_and_uniforms(size: int, k: int) -> None:
    torch.manual_seed(0)
    z = 3 * torch.randn(1500, size, dtype=torch.double)
    assert knn_entropy(z, k).item() == pytest.approx(0.5 * size * math.log(2 * math.pi * math.e * 9), abs=0.12 * size)
    u = 2 * torch.rand(1500, size, dtype=torch.double)
    assert knn_entropy(u, k).item() == pytest.approx(size * math.log(2), abs=0.12 * size)


def test_a_group_is_taken_out() -> None:
    """Two far classes of one law: given the class, the entropy is that of one; without, log 2 more."""
    torch.manual_seed(0)
    group = torch.arange(1000) % 2
    z = torch.randn(1000, 2, dtype=torch.double) + 50 * group[:, None]
    given, whole = knn_entropy(z, 3, group).item(), knn_entropy(z, 3).item()
    assert given == pytest.approx(math.log(2 * math.pi * math.e), abs=0.1)
    assert whole - given == pytest.approx(math.log(2), abs=0.01)


def test_rows_of_small_groups_are_left_out_and_equal_rows_stay_finite() -> None:
    z = torch.randn(6, 2, dtype=torch.double)
    alone = torch.cat([z, torch.full((1, 2), 1e6, dtype=torch.double)])
    assert knn_entropy(alone, 3, torch.tensor([0] * 6 + [1])).item() == pytest.approx(knn_entropy(z, 3).item())
    same = torch.ones(5, 2, requires_grad=True)
    knn_entropy(same, 2).backward()
    assert torch.isfinite(same.grad).all()
    assert knn_entropy(z, 3, torch.arange(6)).item() == 0


def test_gradient_and_no_host() -> None:
    z = torch.randn(9, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: knn_entropy(v, 2), z)
    with FakeTensorMode():
        fake = torch.rand(8, 3, requires_grad=True)
        knn_entropy(fake, 2, torch.zeros(8, dtype=torch.long)).backward()
