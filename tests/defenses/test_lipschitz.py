"""The Lipschitz term: what k_i is worth on maps where it is known, and what it must not touch."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.defenses.lipschitz import Lipschitz, quotients
from splitpriv.defenses.parts.still import still
from splitpriv.types import Spec, Step

SETTINGS: dict[str, Any] = {
    "weight": 1.0, "sigma": 0.05, "aggregate": "mean", "detach": False, "normalise": "none", "statistics": "joint",
}  # fmt: skip


def lipschitz(**changes: Any) -> Lipschitz:
    return Lipschitz(**(SETTINGS | changes))


class Scale(nn.Module):
    def __init__(self, factor: float, shift: float = 0.0) -> None:
        super().__init__()
        self.factor, self.shift = nn.Parameter(torch.tensor(factor)), shift

    def forward(self, z: Tensor) -> Tensor:
        return self.factor * z + self.shift


def edge() -> nn.Sequential:
    """Three stages with BatchNorms; a little lively."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()), nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(8, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6), nn.ReLU()),
    )  # fmt: skip


def images(count: int = 16) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def value(net: nn.Module, **changes: Any) -> Tensor:
    torch.manual_seed(5)
    x = images()
    step = Step(x, torch.zeros(len(x), dtype=torch.long), {}, net, "fit", 0, 0.0, 0.1)
    found = lipschitz(**changes).penalty(torch.empty(0), step)
    assert found is not None
    return found


def state(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("aggregate", ["mean", "max", "logsumexp"])
def test_a_scaling_has_its_factor(aggregate: str) -> None:
    net = nn.Sequential(Scale(3.0), Scale(-0.5, shift=7.0))
    assert value(net, aggregate=aggregate, weight=2.0).item() == pytest.approx(2 * 3.5, rel=1e-4)
    assert value(net, aggregate=aggregate, sigma=0.2).item() == pytest.approx(3.5, rel=1e-4)


def test_a_random_direction_measures_the_rms_gain() -> None:
    """E k² = tr(JᵀJ)/n for a linear map, below its largest singular value."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(192, 20)))
    weight = net[0][1].weight.detach()
    x = images(512)
    (k,) = quotients(list(net), x, x + 0.05 * torch.randn_like(x), False, "none")
    assert k.square().mean().item() == pytest.approx(weight.square().sum().item() / 192, rel=0.05)
    assert k.max() < torch.linalg.matrix_norm(weight, 2)


def test_mean_log_mean_exp_and_max_are_in_this_order() -> None:
    mean, smooth, most = (value(edge(), aggregate=a).item() for a in ("mean", "logsumexp", "max"))
    assert mean < smooth < most


def test_blocks_are_the_stages_of_the_edge_and_a_raw_image_has_none() -> None:
    net = edge()
    assert len(quotients(list(net), images(), images() + 0.1, False, "none")) == 3
    x = images()
    step = Step(x, torch.zeros(len(x), dtype=torch.long), {}, nn.Sequential(), "fit", 0, 0.0, 0.1)
    assert lipschitz().penalty(x, step) is None


def test_links_before_the_edge_are_part_of_its_first_stage() -> None:
    """k_1 = a·‖half of δ‖/‖δ‖, k_2 = b: what the edge receives is half of the image and of its change."""
    defense, x = lipschitz(), images()
    halved = SimpleNamespace(before_edge=lambda x: x / 2)  # as blur would change the image
    defense.attach(SimpleNamespace(defenses=lambda: [("it", halved)]), Spec((3, 8, 8), 2), (3, 8, 8))  # type: ignore[arg-type]
    net = nn.Sequential(Scale(3.0), Scale(5.0))
    step = Step(x, torch.zeros(len(x), dtype=torch.long), {}, net, "fit", 0, 0.0, 0.1)
    found = defense.penalty(torch.empty(0), step)
    assert found is not None and found.item() == pytest.approx(1.5 + 5.0, rel=1e-4)


@pytest.mark.parametrize("detach", [False, True])
def test_a_denominator_pulls_an_early_block_up_unless_it_is_detached(detach: bool) -> None:
    """k_2 = |b| whatever a is; as printed, so is its gradient: through a it cancels, detached it does not."""
    net = nn.Sequential(OrderedDict(a=Scale(2.0), b=Scale(3.0)))
    value(net, detach=detach).backward()
    assert net.b.factor.grad.item() == pytest.approx(1.0, rel=1e-4)
    assert net.a.factor.grad.item() == pytest.approx(1.0 + (1.5 if detach else 0.0), rel=1e-4)


def test_frozen_and_joint_statistics_differ_and_neither_moves_them() -> None:
    net = edge().train()
    before, modes = state(net), [m.training for m in net.modules()]
    joint, frozen = value(net).item(), value(net, statistics="frozen").item()
    assert joint != pytest.approx(frozen, rel=1e-2)
    assert same(before, state(net))
    assert [m.training for m in net.modules()] == modes
    assert all(m.track_running_stats for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert frozen == pytest.approx(value(net.eval()).item())  # an edge that does not learn keeps its running ones


@pytest.mark.parametrize("statistics", ["joint", "frozen"])
def test_both_images_meet_the_same_statistics(statistics: str) -> None:
    """Two batches of their own would hide a constant offset altogether."""
    net, x = edge().train(), images()
    shifted = x + 1.0
    with still(net, statistics == "frozen"):
        k = torch.stack(quotients(list(net), x, shifted, False, "none"))
        alone = torch.stack(quotients(list(net), x[:8], shifted[:8], False, "none"))
    assert (k[0] > 0.1).all()
    if statistics == "frozen":
        torch.testing.assert_close(alone, k[:, :8])


def test_dropout_does_not_pass_for_a_change() -> None:
    net = nn.Sequential(nn.Dropout(0.5), Scale(2.0)).train()
    assert value(net).item() == pytest.approx(3.0, rel=1e-4)
    assert net[0].training


def test_a_dead_block_has_a_finite_gradient() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    net[0].bias.data.fill_(-100.0)
    for normalise in ("none", "rms", "std"):
        net.zero_grad()
        found = value(net, normalise=normalise)
        found.backward()
        assert torch.isfinite(found)
        assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_descent_contracts_the_edge() -> None:
    net = edge().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    first = value(net).item()
    for _ in range(10):
        optimizer.zero_grad()
        value(net).backward()
        optimizer.step()
    assert value(net).item() < 0.9 * first


def test_the_change_of_the_image_is_fresh_every_step() -> None:
    x = images()
    step = Step(x, torch.zeros(len(x), dtype=torch.long), {}, edge().eval(), "fit", 0, 0.0, 0.1)
    defense = lipschitz()
    assert defense.penalty(x, step).item() != defense.penalty(x, step).item()
