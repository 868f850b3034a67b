"""The co-trained decoder: who learns from what, what the penalty is worth, and what it must not touch."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.defenses.adversarial import Adversarial, Monitor
from splitpriv.nets.decoders import conv, residual, unet
from splitpriv.stats.ssim import ssim
from splitpriv.types import Spec, Step

SPEC, SHAPE = Spec((1, 8, 8), 2), (4, 4, 4)
SMALL = functools.partial(conv, width=8, widest=8)
SETTINGS: dict[str, Any] = {
    "net": SMALL, "weight": 2.0, "loss": "mse", "threshold": 0.5, "ceiling": None, "inner_loss": "mse",
    "padding": "zero", "lr": 0.01, "steps": 1, "warmup": 0, "start": "seed",
}  # fmt: skip


def adversarial(**changes: Any) -> Adversarial:
    defense = Adversarial(**(SETTINGS | changes))
    defense.attach(None, SPEC, SHAPE)
    return defense


def watcher(**changes: Any) -> Monitor:
    monitor = Monitor(**({"net": SMALL, "inner_loss": "mse", "padding": "reflect", "lr": 0.01, "steps": 2} | changes))
    monitor.attach(SHAPE, SPEC.image)
    return monitor


@pytest.fixture
def batch() -> tuple[nn.Module, Tensor]:
    """An edge and smooth images."""
    torch.manual_seed(0)
    edge = nn.Sequential(nn.Conv2d(1, 4, 2, 2), nn.ReLU())
    return edge, F.interpolate(torch.rand(12, 1, 3, 3), size=8, mode="bilinear", align_corners=True)


def step(x: Tensor, epoch: int = 0) -> Step:
    return Step(x, torch.zeros(len(x), dtype=torch.long), {}, nn.Identity(), "fit", epoch, 0.0, 0.05)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    assert a
    return all(torch.equal(a[name], b[name]) for name in a)


# ---- who learns from what ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner_loss", ["mse", "l1", "ssim"])
def test_the_inner_step_moves_the_decoder_alone_and_lowers_its_loss(inner_loss: str, batch: Any) -> None:
    edge, x = batch
    defense, before = adversarial(inner_loss=inner_loss), state(edge)
    z, start = edge(x).detach(), state(defense.decoder)
    optimizer = defense.adversary_optimizer()
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = defense.adversary_loss(z, step(x))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad is None for p in edge.parameters())
    assert same(before, state(edge))
    after = state(defense.decoder)
    assert all(not torch.equal(after[name], start[name]) for name, _ in defense.decoder.named_parameters()
               if not name.endswith("bias"))  # fmt: skip
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == set(map(id, defense.adversary_parameters()))
    assert set(map(id, defense.parameters())) == set(map(id, defense.adversary_parameters()))


@pytest.mark.parametrize("settings", [{"loss": "mse"}, {"loss": "ssim", "threshold": 0.0}], ids=["mse", "ssim"])
@pytest.mark.parametrize("net", [SMALL, functools.partial(residual, blocks=1, width=8),
                                 functools.partial(unet, width=4, depth=1)])  # fmt: skip
def test_the_penalty_reaches_the_edge_and_leaves_the_decoder_untouched(net: Any, settings: Any, batch: Any) -> None:
    edge, x = batch
    defense = adversarial(net=net, **settings)
    defense.adversary_loss(edge(x).detach(), step(x))  # BatchNorm has seen something
    assert any("running_mean" in name for name in defense.state_dict())
    before = state(defense)
    z = edge(x)
    z.retain_grad()
    defense.penalty(z, step(x)).backward()
    assert z.grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in edge.parameters())
    assert all(p.grad is None and p.requires_grad for p in defense.parameters())
    assert same(before, state(defense))


def test_the_penalty_judges_in_evaluation_mode_and_learning_happens_in_training_mode(batch: Any) -> None:
    edge, x = batch
    defense, z = adversarial(), edge(x).detach()
    alone = torch.stack([defense.penalty(z[i : i + 1], step(x[i : i + 1])) for i in range(len(z))]).mean()
    assert defense.penalty(z, step(x)).item() == pytest.approx(alone.item(), rel=1e-5)
    before = state(defense)
    defense.adversary_loss(z, step(x))
    moved = {name for name, value in state(defense).items() if not torch.equal(value, before[name])}
    assert moved
    assert all("running" in name or "num_batches" in name for name in moved)


@pytest.mark.parametrize("settings", [{"loss": "mse"}, {"loss": "ssim", "threshold": 0.0, "inner_loss": "ssim"}],
                         ids=["mse", "ssim"])  # fmt: skip
def test_an_outer_step_on_z_raises_the_adversary_s_loss(settings: Any, batch: Any) -> None:
    edge, x = batch
    defense = adversarial(weight=1.0, **settings)
    z, optimizer = edge(x).detach(), defense.adversary_optimizer()
    for _ in range(40):
        optimizer.zero_grad()
        defense.adversary_loss(z, step(x)).backward()
        optimizer.step()

    def error(released: Tensor) -> float:
        mse, similarity = defense.decoder.score(released, x)
        return float(mse.mean() if settings["loss"] == "mse" else -similarity.mean())

    away = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(defense.penalty(away, step(x)), away)
    assert error(z - 0.5 * gradient / gradient.abs().max()) > error(z) + 1e-4


# ---- what it is worth ----------------------------------------------------------------------------------------------


def test_the_mse_form_is_minus_weight_times_mse_up_to_the_ceiling(batch: Any) -> None:
    edge, x = batch
    defense, z = adversarial(), edge(x).detach()
    error = F.mse_loss(defense.decoder.frozen(z), x)
    assert defense.penalty(z, step(x)).item() == pytest.approx(-2 * error.item())
    for share in (0.5, 2.0):
        capped = adversarial(ceiling=share * error.item())
        free = z.clone().requires_grad_()
        value = capped.penalty(free, step(x))
        (gradient,) = torch.autograd.grad(value, free)
        assert value.item() == pytest.approx(-2 * min(share, 1.0) * error.item())
        assert bool(gradient.any()) == (share > 1)


def test_nothing_is_gained_by_being_worse_than_the_mean_image(batch: Any) -> None:
    edge, x = batch
    z, defense = edge(x).detach(), adversarial(ceiling="floor")
    n = len(x)
    floor = sum(F.mse_loss(x[i], x[torch.arange(n) != i].mean(0)).item() for i in range(n)) / n * (n - 1) / n
    for decoded, gains in ((x + 0.5 * floor**0.5, True), (x + 2 * floor**0.5, False)):
        free = decoded.clone().requires_grad_()
        defense.decoder.frozen = lambda z, free=free: free
        value = defense.penalty(z, step(x))
        (gradient,) = torch.autograd.grad(value, free)
        assert value.item() == pytest.approx(-2 * min(F.mse_loss(decoded, x).item(), floor), rel=1e-4)
        assert bool(gradient.any()) == gains


def test_the_decoder_starts_as_the_seed_has_it() -> None:
    def start(seed: int, **changes: Any) -> Tensor:
        torch.manual_seed(seed)
        return next(adversarial(**changes).decoder.net.parameters())

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))
    assert torch.equal(start(1, start="same"), start(2, start="same"))


def test_the_ssim_form_is_a_hinge_at_the_threshold(batch: Any) -> None:
    edge, x = batch
    z = edge(x).detach()
    similarity = ssim(adversarial().decoder.frozen(z), x, "zero").mean().item()
    assert 0 < similarity < 1
    for shift in (-0.01, 0.01):
        defense, free = adversarial(loss="ssim", threshold=similarity + shift), z.clone().requires_grad_()
        value = defense.penalty(free, step(x))
        (gradient,) = torch.autograd.grad(value, free)
        if shift > 0:
            assert value.item() == 0.0
            assert not gradient.any()
        else:
            assert value.item() == pytest.approx(2 * 0.01, rel=1e-3)
            assert gradient.any()


def test_padding_reaches_the_ssim(batch: Any) -> None:
    edge, x = batch
    values = [adversarial(loss="ssim", threshold=0.0, padding=p).penalty(edge(x), step(x)).item()
              for p in ("zero", "reflect", "valid")]  # fmt: skip
    assert len(set(values)) == 3


def test_inner_losses_are_what_they_are_called(batch: Any) -> None:
    edge, x = batch
    z = edge(x).detach()
    image = adversarial().decoder.net.train()(z)
    expected = {"mse": F.mse_loss(image, x), "l1": F.l1_loss(image, x), "ssim": 1 - ssim(image, x, "zero").mean()}
    for name, value in expected.items():
        assert adversarial(inner_loss=name).adversary_loss(z, step(x)).item() == pytest.approx(value.item(), rel=1e-5)


def test_a_warm_up_leaves_the_edge_in_peace_while_the_decoder_learns(batch: Any) -> None:
    edge, x = batch
    defense = adversarial(warmup=2)
    z = edge(x)
    assert defense.penalty(z, step(x, 0)) is None
    assert defense.penalty(z, step(x, 1)) is None
    assert defense.penalty(z, step(x, 2)) is not None
    assert defense.adversary_loss(z.detach(), step(x, 0)).requires_grad
    assert adversarial(warmup=0).penalty(z, step(x, 0)) is not None


def test_steps_reach_the_engine() -> None:
    assert adversarial(steps=3).adversary_steps == 3
    assert watcher(steps=5).steps == 5
    assert adversarial(lr=0.02).adversary_optimizer().param_groups[0]["lr"] == 0.02


# ---- the target's random numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [SMALL, functools.partial(residual, blocks=1, width=8),
                                 functools.partial(unet, width=4, depth=1)])  # fmt: skip
def test_neither_defence_nor_monitor_consumes_a_random_number(net: Any) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    x, z = torch.full((6, 1, 8, 8), 0.4), torch.linspace(0, 1, 6 * 64).view(6, *SHAPE)
    defense, monitor = adversarial(net=net, loss="ssim", threshold=0.0), watcher(net=net)
    for optimizer, loss in (
        (defense.adversary_optimizer(), lambda: defense.adversary_loss(z, step(x))),
        (monitor.optimizer(), lambda: monitor.step_loss(z, x)),
    ):
        loss().backward()
        optimizer.step()
    defense.penalty(z.requires_grad_(), step(x)).backward()
    monitor.score(z, x)
    assert torch.equal(torch.get_rng_state(), before)


# ---- the monitor ---------------------------------------------------------------------------------------------------


def test_a_monitor_learns_from_detached_releases(batch: Any) -> None:
    edge, x = batch
    monitor = watcher()
    loss = monitor.step_loss(edge(x), x)
    loss.backward()
    assert all(p.grad is None for p in edge.parameters())
    assert any(p.grad is not None and p.grad.any() for p in monitor.parameters())
    assert loss.item() == pytest.approx(F.mse_loss(monitor.net.train()(edge(x)), x).item(), rel=1e-5)


def test_a_monitor_scores_each_image_in_evaluation_mode(batch: Any) -> None:
    edge, x = batch
    monitor = watcher()
    monitor.step_loss(edge(x), x)
    before = state(monitor)
    mse, similarity = monitor.score(edge(x), x)
    image = monitor.net.eval()(edge(x))
    assert mse.shape == similarity.shape == (12,)
    assert not mse.requires_grad
    torch.testing.assert_close(mse, (image - x).square().mean((1, 2, 3)))
    torch.testing.assert_close(similarity, ssim(image, x, "reflect"))
    assert same(before, state(monitor))
