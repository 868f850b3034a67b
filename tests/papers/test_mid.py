"""MID (Wang et al., AAAI 2021) and the bottleneck at the split: golden numbers, limits of beta and of the spread."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small import tiny
from torch import Tensor, nn

from splitpriv import targets
from splitpriv.defenses.base import Defended
from splitpriv.run.parts import make_model
from splitpriv.stats.vib import kl_to_normal, reparameterise
from splitpriv.types import Step


def model(*overrides: str) -> Defended:
    cfg = tiny(*overrides)
    torch.manual_seed(0)
    return make_model(cfg, targets.build(cfg["dataset"], "dataset")())


def data(n: int = 128) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).long()


def descend(target: Defended, steps: int, lr: float = 0.05) -> tuple[float, float]:
    """Train on `data`; the KL in nats of the last step, and the accuracy in evaluation mode."""
    (x, y), (_, link) = data(), next(iter(target.defenses()))
    optimizer = torch.optim.Adam(target.parameters(), lr)
    target.train()
    for i in range(steps):
        step = Step(x, y, {}, target.net.edge, "fit", 0, i / steps, lr)
        z = target.features(x)
        loss = F.cross_entropy(target.classify(target.obfuscate(z)), y) + link.penalty(z, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    kl = float(link.penalty(z, step).detach()) / float(link.facts["beta_of_sum"])
    with torch.no_grad():
        return kl, float((target.eval()(x).argmax(1) == y).float().mean())


def test_golden_kl() -> None:
    kl = kl_to_normal(torch.tensor([0.5, -1.0]).double(), torch.tensor([1.0, 0.5]).double())
    assert kl.tolist() == pytest.approx([0.125, 0.81814718], abs=1e-6)
    assert kl.sum().item() == pytest.approx(0.9431471805599453, abs=1e-6)
    assert kl_to_normal(torch.zeros(3), torch.ones(3)).abs().max() < 1e-6
    assert torch.isfinite(kl_to_normal(torch.zeros(1), torch.zeros(1)))


def test_it_is_the_kl_that_torch_knows() -> None:
    mean, std = torch.randn(50, dtype=torch.float64), torch.rand(50, dtype=torch.float64) + 0.1
    p, q = torch.distributions.Normal(mean, std), torch.distributions.Normal(torch.zeros(50).double(), 1.0)
    assert torch.allclose(kl_to_normal(mean, std), torch.distributions.kl_divergence(p, q), atol=1e-5)


def test_a_draw_has_its_moments_and_gradients_reach_both() -> None:
    torch.manual_seed(0)
    mean, std = torch.tensor([2.0], requires_grad=True), torch.tensor([0.5], requires_grad=True)
    draws = reparameterise(mean.expand(20000), std.expand(20000))
    assert draws.mean().item() == pytest.approx(2.0, abs=0.02)
    assert draws.std().item() == pytest.approx(0.5, rel=0.02)
    draws.square().mean().backward()
    assert mean.grad.item() == pytest.approx(4.0, rel=0.05)
    assert std.grad.item() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(("gain", "std"), [(0.6, 0.8), (0.6, 0.2), (2.0, 1.0), (0.1, 0.5)])
def test_the_mean_kl_bounds_the_mutual_information(gain: float, std: float) -> None:
    """x ~ N(0, 1), z = gain·x + std·ε: I = ½ log(1 + gain²/std²); equality where z ~ N(0, 1)."""
    x = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean_kl = kl_to_normal(gain * x, torch.full_like(x, std)).mean().item()
    information = 0.5 * math.log(1 + gain**2 / std**2)
    slack = 0.5 * (gain**2 + std**2 - 1 - math.log(gain**2 + std**2))  # KL(p(z) ‖ N(0, 1))
    assert mean_kl == pytest.approx(information + slack, abs=0.01)
    assert slack >= 0 and (slack < 1e-9) == (gain == 0.6 and std == 0.8)


@pytest.mark.parametrize(("name", "size"), [("mid", 8), ("vib", 64)])
def test_at_the_start_the_kl_is_about_four_and_a_half_nats_an_entry(name: str, size: int) -> None:
    target = model(f"defense=[{name}]", f"defense.{name}.beta=1.0")
    link: Any = target.chain[name]
    x, y = data()
    kl = link.penalty(target.features(x), Step(x, y, {}, target.net.edge, "fit", 0, 1.0, 0.1)).item()
    assert link.size == size
    assert kl / size == pytest.approx(4.5, abs=0.6)


def test_without_beta_and_spread_mid_is_the_undefended_network() -> None:
    plain, mid = model("defense=[none]").eval(), model("defense=[mid]", "defense.mid.size=16", "defense.mid.shift=80.0")
    head, last = mid.net.cloud.head.fc, plain.net.cloud.head.fc
    with torch.no_grad():
        head.code.encode.weight.copy_(torch.cat([torch.eye(16), torch.zeros(16, 16)]))
        head.code.encode.bias.zero_()
        head.decode.load_state_dict(last.state_dict())
    mid.eval()
    x, _ = data()
    assert head.code.sample_at_test
    assert torch.allclose(mid(x), plain(x), atol=1e-6)


def test_without_beta_and_spread_vib_is_the_undefended_network() -> None:
    plain, vib = model("defense=[none]").eval(), model("defense=[vib]", "defense.vib.shift=80.0").eval()
    encode = vib.chain.vib.code.encode
    with torch.no_grad():
        encode.weight.copy_(torch.cat([torch.eye(4), torch.zeros(4, 4)])[..., None, None])
        encode.bias.zero_()
    x, _ = data()
    assert torch.allclose(vib.release(x), plain.release(x), atol=1e-6)
    assert torch.allclose(vib(x), plain(x), atol=1e-6)


@pytest.mark.parametrize("name", ["mid", "vib"])
def test_beta_trades_what_is_known_against_what_is_answered(name: str) -> None:
    found = {}
    for beta in (1e-5, 100.0):
        target = model(f"defense=[{name}]", f"defense.{name}.beta={beta}")
        found[beta] = descend(target, 120)
    (free, right), (tight, wrong) = found.values()
    assert free > 5 and right > 0.85
    assert tight < 0.1 and wrong < 0.7  # two classes: chance is a half


def test_averaged_draws_approach_the_mean() -> None:
    """Why one query flatters the defence: the error of m averaged codes is std²/m."""
    target = model("defense=[vib]", "defense.vib.shift=0.0").eval()
    x, _ = data(8)
    with torch.no_grad():
        mean, std = target.chain.vib.code.moments(target.features(x))
        errors = []
        for draws in (1, 16, 256):
            average = torch.stack([target.release(x) for _ in range(draws)]).mean(0)
            errors.append(float((average - mean).square().mean() / std.square().mean()))
    assert [e * m for e, m in zip(errors, (1, 16, 256), strict=True)] == pytest.approx([1, 1, 1], rel=0.25)


def test_the_layers_of_mid_are_linear() -> None:
    head = model("defense=[mid]").net.cloud.head.fc
    assert isinstance(head.code.encode, nn.Linear) and isinstance(head.decode, nn.Linear)
