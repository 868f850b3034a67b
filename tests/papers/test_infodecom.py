"""InfoDecom: frequencies that go, information that is suppressed, noise that is calibrated."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from splitpriv.contract.base import composed
from splitpriv.contract.defenses import images, model, step_of
from splitpriv.defenses.base import Defended
from splitpriv.defenses.infodecom import cosines


def target(**settings: Any) -> Defended:
    cfg = copy.deepcopy(composed("defense=[infodecom]"))
    cfg["defense"]["infodecom"] |= settings
    return model(cfg).eval()


@pytest.mark.parametrize("drop", ["low", "high"])
def test_the_image_loses_its_share_of_frequencies_and_no_others(drop: str) -> None:
    defense = target(removed=0.2, drop=drop).chain["infodecom"]
    x = torch.rand(3, 1, 8, 8)
    made = defense.before_edge(x)
    dct = cosines(8)
    assert torch.allclose(dct @ dct.mT, torch.eye(8), atol=1e-6)
    before, after = (dct @ (v - 0.5) @ dct.mT for v in (x, made))
    frequency = (torch.arange(8)[:, None] + torch.arange(8)) / 16
    gone = frequency < 0.2 if drop == "low" else frequency >= 0.8
    assert 0 < gone.sum() < 20
    assert torch.allclose(after, before.masked_fill(gone, 0.0), atol=1e-5)
    assert torch.allclose(defense.before_edge(made), made, atol=1e-5)
    whole = target(removed=0.0).chain["infodecom"]
    assert torch.allclose(whole.before_edge(x), x, atol=1e-5)


def test_no_scale_of_z_games_the_penalty() -> None:
    """The noise follows the scale of z, so what is suppressed does not depend on it, nor does it pull on it."""
    net, data = target(weight=1.0, target=0.02), images()
    defense, step = net.chain["infodecom"], step_of(net, data)
    last = [p for name, p in net.net.edge.named_parameters() if "norm" in name][-2:]  # z is proportional to them
    found = []
    for scale in (1.0, 0.5, 0.1):
        for p in last:
            p.data.mul_(scale)
        defense.seen.zero_()
        torch.manual_seed(0)
        value = defense.penalty(net.features(data.images), step)
        slopes = torch.autograd.grad(value, [*last, next(net.net.edge.parameters())])
        assert sum((p * s).sum() for p, s in zip(last, slopes, strict=False)).abs() < 1e-4
        assert slopes[-1].abs().max() > 1e-4  # what passes is another matter
        found.append(value.item())
    assert found == pytest.approx([found[0]] * 3, rel=1e-3)


def test_the_penalty_is_the_information_of_a_gaussian_channel_and_the_noise_that_of_dfil() -> None:
    net, data = target(weight=2.0, target=0.02), images()
    defense, step = net.chain["infodecom"], step_of(net, data)
    z = net.features(data.images)
    value = defense.penalty(z, step)
    sigma = float(defense.sigma)
    assert sigma > 0
    wanted = 2 * (0.5 * (1 + z.flatten(1).var(0, correction=0) / sigma**2).log()).mean().item()
    assert value.item() == pytest.approx(wanted, rel=1e-4)
    assert any(s.abs().max() > 0 for s in torch.autograd.grad(value, list(net.net.edge.parameters())))
    assert (net.release(data.images) - z).std().item() == pytest.approx(sigma, rel=0.1)
    assert math.isclose(defense.sigma, (defense.trace * 0.02).sqrt())
