"""Dropout of features, without rescaling and at deployment too."""

from __future__ import annotations

import pytest
import torch

from splitpriv.defenses.dropout import Dropout


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_it_drops_the_share_and_keeps_the_rest_as_it_is(mode: bool) -> None:
    torch.manual_seed(0)
    z = torch.rand(200, 10, 5, 5) + 1
    released = Dropout(rate=0.3).train(mode).after_edge(z)
    dropped = released == 0
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(released[~dropped], z[~dropped])


def test_a_fresh_mask_for_every_release_and_image() -> None:
    defense, z = Dropout(rate=0.5).eval(), torch.ones(2, 100)
    first, second = defense.after_edge(z), defense.after_edge(z)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


def test_a_dropped_entry_keeps_no_sign_and_no_gradient() -> None:
    z = -torch.ones(50, 10)
    z.requires_grad_()
    released = Dropout(rate=0.5).after_edge(z)
    released.sum().backward()
    dropped = released == 0
    assert dropped.any()
    assert not torch.signbit(released[dropped]).any()
    assert torch.equal(z.grad, (~dropped).float())


def test_at_rate_zero_nothing_is_dropped() -> None:
    z = torch.rand(20, 50)
    assert torch.equal(Dropout(rate=0.0).after_edge(z), z)


def test_it_adds_no_noise_of_fixed_size() -> None:
    assert Dropout(rate=0.5).noise_std == 0
