"""dFIL: the noise that reaches a target, the regulariser that no scale can game, and the bound that holds for all."""

from __future__ import annotations

import copy

import pytest
import torch

from splitpriv.contract.base import composed
from splitpriv.contract.defenses import images, model, step_of
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.measure.audit import first_noise
from splitpriv.stats import fisher


def target(**settings: float) -> Defended:
    cfg = copy.deepcopy(composed("defense=[dfil]"))
    cfg["defense"]["dfil"] |= settings
    return model(cfg)


def many() -> Split:
    torch.manual_seed(1)
    return Split(torch.rand(256, 1, 8, 8), torch.arange(256) % 2, torch.arange(256))


def test_the_noise_makes_the_fisher_leakage_the_target() -> None:
    net, data = target(target=0.02).eval(), many()
    defense = net.chain["dfil"]
    for _ in range(40):
        defense.penalty(net.features(data.images), step_of(net, data))
    channel = first_noise(net)
    assert channel is not None
    signal, std = channel
    leaked = fisher.dfil(signal, data.images, std, probes=10**6)
    assert leaked.mean().item() == pytest.approx(1 / 0.02, rel=0.1)
    z = net.features(data.images)
    assert (net.release(data.images) - z).std().item() == pytest.approx(float(defense.sigma), rel=0.05)
    assert torch.equal(net.expected(data.images), z)
    quieter = target(target=0.005)
    quieter.chain["dfil"].load_state_dict(defense.state_dict())
    assert float(quieter.chain["dfil"].sigma) == pytest.approx(float(defense.sigma) / 2)


def test_the_regulariser_does_not_see_the_scale_of_z_and_moves_the_edge() -> None:
    net, data = target(weight=1.0), images()
    step, defense = step_of(net, data), net.chain["dfil"]
    torch.manual_seed(0)
    value = defense.penalty(net.features(data.images), step)
    slopes = torch.autograd.grad(value, list(net.net.edge.parameters()))
    assert any(s.abs().max() > 1e-6 for s in slopes)
    with torch.no_grad():
        for name, p in net.net.edge.named_parameters():
            if "norm" in name:
                p.mul_(100)
    torch.manual_seed(0)
    assert defense.penalty(net.features(data.images), step).item() == pytest.approx(value.item(), rel=0.02)
    assert target(weight=0.0).chain["dfil"].penalty(net.features(data.images), step_of(net, data)) is None


def test_the_unbiased_bound_binds_no_biased_attacker_where_van_trees_binds_all() -> None:
    """A linear release of Gaussian images, whose least error is known: 1 / dFIL lies above it."""
    torch.manual_seed(0)
    a = torch.randn(24, 32, dtype=torch.float64) / 32**0.5
    least = torch.trace(torch.linalg.inv(torch.eye(32, dtype=torch.float64) + a.T @ a)).item() / 32
    leaked = a.square().sum().item() / 32
    assert fisher.unbiased_mse(leaked) > least > fisher.van_trees_mse(leaked, 32.0, 32)
