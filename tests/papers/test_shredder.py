"""Shredder: tensors learned alone against a frozen network, one drawn per image, sampled anew in their order."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from splitpriv.contract.base import composed
from splitpriv.contract.defenses import images, model, step_of, trained
from splitpriv.defenses.base import Defended
from splitpriv.defenses.shredder import Shredder, ordered_laplace_mean
from splitpriv.stats.dp import laplace_like


def config(**settings: Any) -> dict[str, Any]:
    cfg = copy.deepcopy(composed("defense=[shredder]"))
    cfg["defense"]["shredder"] |= settings
    return cfg


def online(**settings: Any) -> tuple[Defended, Shredder]:
    torch.manual_seed(0)
    target = model(config(**settings)).eval()
    return target, target.chain["shredder"]  # type: ignore[return-value]


def test_a_release_takes_one_of_the_tensors_and_their_mean_is_expected() -> None:
    target, defense = online(tensors=3, start=1.0, resample=False)
    x = images().images
    z, release = target.features(x), target.release(x)
    far = (release[:, None] - z[:, None] - defense.bank).abs().flatten(2).amax(2)
    assert (far.amin(1) < 1e-5).all()
    assert len(far.argmin(1).unique()) == 3  # drawn image by image
    assert torch.allclose(target.expected(x), z + defense.bank.mean(0), atol=1e-6)


def test_a_resampled_tensor_keeps_its_order_and_its_law_and_its_mean_is_known() -> None:
    target, defense = online(tensors=1, start=1.0)
    x = images().images[:1].repeat(400, 1, 1, 1)
    with torch.no_grad():
        noise = (target.release(x) - target.features(x)).flatten(1)
    order = defense.bank.flatten().argsort()
    assert (noise[:, order].diff(dim=1) >= -1e-5).all()
    assert noise[0].std() > 0
    assert not torch.equal(noise[0], noise[1])
    expected = (target.expected(x[:1]) - target.features(x[:1])).flatten()
    error = noise.std(0) / 400**0.5
    assert ((noise.mean(0) - expected).abs() < 5 * error + 0.01).all()
    # the trap: what two releases share is most of the noise, which averaging, or knowing the tensors, takes away
    assert noise.var(0).mean() < 0.2 * noise.var(1).mean()


def test_the_mean_of_an_ordered_sample() -> None:
    torch.manual_seed(0)
    for n in (1, 2, 7, 64):
        draws = laplace_like(torch.zeros(4000, n)).sort(1).values
        assert torch.allclose(ordered_laplace_mean(n, torch.device("cpu")), draws.mean(0), atol=0.12)


def test_the_loss_makes_noise_grow_up_to_its_ratio_and_no_further() -> None:
    target, defense = online(tensors=4, start=0.5, ratio=1.0, weight=2.0)
    with torch.no_grad():
        defense.bank[0] *= 10  # beyond it
    data = images()
    penalty = defense.penalty(target.features(data.images), dataclasses.replace(step_of(target, data), phase="noise"))
    assert penalty is not None
    share = defense.bank.flatten(1).abs().mean(1)[1:].sum().item() / 4
    assert penalty.item() == pytest.approx(-2.0 * share, rel=1e-5)
    (slope,) = torch.autograd.grad(penalty, defense.bank)
    assert slope[0].abs().max() == 0
    assert (slope[1:] * defense.bank[1:].sign() < 0).all()  # descending enlarges


def test_only_the_tensors_learn_and_the_regulariser_reaches_them() -> None:
    """In public ports the gradient of the noise term is cleared before the step."""
    loud = trained(config(weight=1000.0, ratio=100.0, lr=0.05)).model
    quiet = trained(config(weight=0.0, lr=0.05)).model
    start = model(config())
    assert loud.chain["shredder"].bank.abs().mean() > 1.2 * quiet.chain["shredder"].bank.abs().mean()
    for a, b in zip(loud.net.parameters(), start.net.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [p.name for p in start.chain["shredder"].phases] == ["fit", "noise"]
