"""Pruning of small features: exact counts, by value and by magnitude, per sample and per batch."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from splitpriv.defenses.topk import TopK

By = Literal["value", "magnitude"]


def features() -> Tensor:
    return torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7).view(-1, 1, 1, 1)


def score(z: Tensor, by: By) -> Tensor:
    return z.abs() if by == "magnitude" else z


@pytest.mark.parametrize("by", ["value", "magnitude"])
@pytest.mark.parametrize(("keep", "count"), [(0.4, 40), (0.015, 2), (0.001, 1), (0.999, 100), (1.0, 100)])
def test_exactly_the_largest_of_each_sample_are_kept(by: By, keep: float, count: int) -> None:
    z = features()
    released = TopK(keep=keep, by=by, scope="sample").after_edge(z)
    for one, before in zip(released.flatten(1), z.flatten(1), strict=True):
        order = score(before, by).argsort(descending=True)
        assert torch.equal(one[order[:count]], before[order[:count]])
        assert not one[order[count:]].any()
        assert int((one != 0).sum()) == count


@pytest.mark.parametrize("by", ["value", "magnitude"])
def test_over_the_batch_one_share_is_kept_of_all(by: By) -> None:
    z = features()
    released = TopK(keep=0.25, by=by, scope="batch").after_edge(z).flatten()
    order = score(z, by).flatten().argsort(descending=True)
    assert torch.equal(released[order[:150]], z.flatten()[order[:150]])
    assert not released[order[150:]].any()
    counts = (released.view(6, -1) != 0).sum(1)
    assert counts.max() > 2 * counts.min()


def test_value_drops_what_magnitude_keeps() -> None:
    z = torch.tensor([[-5.0, 1.0, 2.0, -3.0]])
    assert TopK(keep=0.5, by="value", scope="sample").after_edge(z).tolist() == [[0, 1, 2, 0]]
    assert TopK(keep=0.5, by="magnitude", scope="sample").after_edge(z).tolist() == [[-5, 0, 0, -3]]


def test_per_sample_a_release_does_not_depend_on_its_batch() -> None:
    z = features()
    for scope, independent in (("sample", True), ("batch", False)):
        defense = TopK(keep=0.3, by="magnitude", scope=scope)  # type: ignore[arg-type]
        assert torch.equal(defense.after_edge(z)[:1], defense.after_edge(z[:1])) == independent


def test_ties_do_not_change_the_count_and_no_sign_is_left() -> None:
    released = TopK(keep=0.5, by="magnitude", scope="sample").after_edge(-torch.ones(3, 10))
    assert (released == -1).sum(1).tolist() == [5, 5, 5]
    assert not torch.signbit(released[released == 0]).any()


def test_the_gradient_reaches_only_what_is_kept() -> None:
    z = features().requires_grad_()
    released = TopK(keep=0.4, by="value", scope="sample").after_edge(z)
    released.sum().backward()
    assert torch.equal(z.grad, (released != 0).float())
