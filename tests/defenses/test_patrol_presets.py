"""The presets `patrol` and `patrol_cem`, the budget that chooses a cut, and runs that stop half-way."""

from __future__ import annotations

import copy
import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small import changed, execute, numbers, tiny
from torch import Tensor, nn

from splitpriv import config, targets
from splitpriv.defenses.base import Defended
from splitpriv.defenses.prune_oneshot import PruneOneshot, rest_of
from splitpriv.nets import resnet, small, vgg
from splitpriv.nets.split import SplitNet, affordable_stages, edge_sizes
from splitpriv.store import Store
from splitpriv.types import Phase, Spec, Step, UserError

RGB = Spec((3, 32, 32), 10, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
C8 = {"channels": 8, "kernel": 3, "stride": 1, "activation": "sigmoid"}
ONESHOT: dict[str, Any] = {
    "ratio": 0.05, "spared": 32, "at": 0.75, "stale": True, "epochs": 240, "optim": {"schedule": None},
}  # fmt: skip
PRUNED = Phase("pruned")
SHORT = ("decoder@defense.adversarial.net=conv", "defense.adversarial.net.width=8", "defense.adversarial.net.widest=8")
SHORT_CEM = ("decoder@defense.ressfl.net=conv", "defense.ressfl.net.width=8", "defense.ressfl.net.widest=8")


def oneshot(**changes: Any) -> PruneOneshot:
    return PruneOneshot(**(ONESHOT | changes))


def double(**changes: Any) -> Defended:
    torch.manual_seed(0)
    net = SplitNet(vgg.vgg11_double(RGB, dropout=0.5, init="xavier", extra=16), RGB, at=5, bottleneck=C8)
    return Defended(net, {"prune_oneshot": oneshot(**changes)}, RGB)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# ---- the presets ---------------------------------------------------------------------------------------------------


def test_patrol_is_its_three_parts_and_each_can_be_left_out() -> None:
    chain = config.compose(["defense=[patrol]"])["defense"]
    assert list(chain) == ["prune", "lipschitz", "adversarial"]
    assert chain["adversarial"]["loss"] == "mse" and chain["adversarial"]["ceiling"] is not None  # −β·min(MSE, ceiling)
    for left in (["prune", "lipschitz"], ["prune", "adversarial"], ["lipschitz", "adversarial"]):
        assert list(config.compose([f"defense=[{','.join(left)}]"])["defense"]) == left


def test_patrol_cem_has_an_adversary_and_one_pruning_and_nothing_of_patrol() -> None:
    cfg = config.compose(["+setting=patrol_cem_cifar10"])
    assert list(cfg["defense"]) == ["ressfl", "prune_oneshot"]
    assert cfg["defense"]["ressfl"] | {"net": None} == {
        "_target_": "splitpriv.defenses.adversarial.Adversarial", "net": None, "weight": 0.3, "loss": "ssim",
        "threshold": 0.5, "ceiling": None, "inner_loss": "ssim", "padding": "zero", "lr": 0.001, "steps": 3,
        "warmup": 0, "start": "seed",
    }  # fmt: skip
    assert [(p.name, p.epochs) for p in oneshot().phases] == [("dense", 180), ("pruned", 60)]
    assert [p.epochs for p in oneshot(epochs=2).phases] == [1, 1]


# ---- CEM's pruning -------------------------------------------------------------------------------------------------


def test_the_double_local_layer_has_the_parameters_of_the_code() -> None:
    assert parameters(double().net.edge) == 93_224
    with torch.device("meta"):
        net = resnet.resnet20_double(RGB, stem_kernel=5, stem_width=16, widths=[32, 64, 128], strides=[2, 2, 2])
        plain = resnet.resnet20(RGB, stem_kernel=5, stem_width=16, widths=[32, 64, 128], strides=[2, 2, 2])
    assert parameters(net) - parameters(plain) == 16 * 16 * 9
    assert [*dict(net.named_children())][:3] == ["stem", "extra", "block1"]
    assert set(plain.state_dict()) < set(net.state_dict())


@functools.cache
def cut() -> tuple[Defended, dict[str, Tensor], tuple[float, ...]]:
    model = double()
    old = {k: v.clone() for k, v in model.net.state_dict().items()}
    torch.manual_seed(9)
    model.chain["prune_oneshot"].on_phase_start(PRUNED, model)  # type: ignore[operator]
    return model, old, tuple(torch.randn(2).tolist())


def test_it_is_the_pruner_of_the_code() -> None:
    """torch-pruning's MetaPruner on the edge alone, with the same random image, keeps the same channels."""
    import torch_pruning as tp

    edge = double().net.edge
    torch.manual_seed(9)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (RGB.mean, RGB.std))
    x = mean + std * torch.randn(1, 3, 32, 32)
    ignored = [m for m in edge.modules() if isinstance(m, nn.Conv2d) and m.out_channels <= 32]
    pruner = tp.pruner.MetaPruner(
        edge, x, importance=tp.importance.GroupTaylorImportance(), pruning_ratio=0.05, ignored_layers=ignored
    )
    edge(x).sum().backward()
    pruner.step()
    ours = cut()[0].net.edge.state_dict()
    assert [v.shape for v in ours.values()] == [v.shape for v in edge.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), edge.state_dict().values(), strict=True))
    assert ours["conv1.conv.weight"].shape == (60, 16, 3, 3)
    assert ours["conv2.conv.weight"].shape == (121, 60, 3, 3)


def test_small_layers_and_z_stay() -> None:
    model, _, _ = cut()
    assert model.net.edge.conv0.conv.out_channels == 16
    assert model.shape == (8, 8, 8)
    assert model.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    facts = model.chain["prune_oneshot"].facts
    assert facts["parameters_before"] == 93_224
    assert facts["parameters_after"] == parameters(model.net.edge) < 93_224
    assert facts["bytes_after"] == facts["bytes_before"] == 4 * 512
    assert facts["macs_after"] < facts["macs_before"]


def test_channels_of_z_stay_without_a_bottleneck_too() -> None:
    torch.manual_seed(0)
    net = SplitNet(small.tiny(RGB, width=4), RGB, at=2, bottleneck=None)
    model = Defended(net, {"prune_oneshot": oneshot(ratio=0.5, spared=0)}, RGB)
    model.chain["prune_oneshot"].on_phase_start(PRUNED, model)
    assert model.net.edge.conv1.conv.out_channels == 2
    assert model.net.edge.conv2.conv.weight.shape == (8, 2, 3, 3)
    assert model.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_it_prunes_once_and_leaves_no_gradient_behind() -> None:
    model, _, _ = cut()
    state = [v.clone() for v in model.state_dict().values()]
    model.chain["prune_oneshot"].on_phase_start(PRUNED, model)
    assert all(torch.equal(a, b) for a, b in zip(state, model.state_dict().values(), strict=True))
    assert all(p.grad is None or not p.grad.any() for p in model.net.parameters())
    other = double()
    other.chain["prune_oneshot"].on_phase_start(Phase("dense"), other)
    assert parameters(other.net.edge) == 93_224


@pytest.mark.parametrize("stale", [True, False])
def test_stale_leaves_what_was_cut_as_it_was(stale: bool) -> None:
    """Of the 14 tensors of the edge, 9 are new after the pruning: the code's optimiser does not know them."""
    torch.manual_seed(0)
    model = double(stale=stale)
    defense = model.chain["prune_oneshot"]
    defense.on_phase_start(PRUNED, model)
    before = [p.detach().clone() for p in model.net.edge.parameters()]
    x = torch.rand(2, 3, 32, 32)
    for p in model.net.edge.parameters():
        p.data.add_(1.0)
    defense.on_step_end(x, Step(x, torch.zeros(2, dtype=torch.long), {}, model.net.edge, "pruned", 0, 0.0, 0.1))
    moved = [not torch.equal(a, b) for a, b in zip(before, model.net.edge.parameters(), strict=True)]
    assert (len(moved), sum(not m for m in moved)) == (14, 9 if stale else 0)


def test_the_second_stretch_goes_on_with_the_schedule() -> None:
    def rates(schedule: Any, optimizer: torch.optim.Optimizer, epochs: int) -> list[float]:
        found = []
        for _ in range(epochs):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    def new() -> torch.optim.Optimizer:
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)

    whole = targets.build(config.compose(["optim=cem"])["optim"], "optim")().schedule
    for make in (whole, functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=240)):
        straight, resumed = new(), new()
        all_rates = rates(make(straight), straight, 240)
        later = rates(rest_of(resumed, after=180, schedule=make), resumed, 60)
        assert later == pytest.approx(all_rates[180:])
    assert later[0] < 0.05
    assert rest_of(new(), after=3, schedule=None) is None


# ---- the budget ----------------------------------------------------------------------------------------------------


def test_a_budget_chooses_the_deepest_cut_that_fits_after_pruning() -> None:
    sizes = [100, 400, 900]
    for budget, compression, kept in (
        (100, 0, 1),
        (399, 0, 1),
        (400, 0.0, 2),
        (450, 0.5, 3),
        (449, 0.5, 2),
        (9999, 0, 3),
    ):
        assert affordable_stages({"budget": budget, "compression": compression}, sizes) == kept


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ({"budget": 99, "compression": 0}, "budget: 99 parameters hold no edge, .* needs 100"),
        ({"budget": 0, "compression": 0}, "budget: 0; give"),
        ({"budget": 1.5, "compression": 0}, "budget: 1.5; give"),
        ({"compression": 0}, "budget: None; give"),
        ({"budget": 100, "compression": 1}, "compression: 1; give"),
        ({"budget": 100}, "compression: None; give"),
        ({"budget": 100, "compression": 0, "params": 3}, "params: unknown key"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(at: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"^split\.at\.{said}"):
        affordable_stages(at, [100, 400])


@pytest.mark.parametrize("bottleneck", [None, C8])
def test_sizes_are_those_of_the_edges(bottleneck: Any) -> None:
    backbone = small.tiny(RGB, width=4)
    state = torch.get_rng_state()
    sizes = edge_sizes(backbone, RGB, bottleneck)
    assert torch.equal(torch.get_rng_state(), state)
    cuts = [SplitNet(backbone, RGB, at=at, bottleneck=bottleneck) for at in (1, 2, 3)]
    assert sizes == [parameters(net.edge) for net in cuts]
    chosen = SplitNet(backbone, RGB, at={"budget": sizes[1], "compression": 0}, bottleneck=bottleneck)
    assert chosen.at == 2


def test_the_pruned_edge_fits_its_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(tmp_path))
    cfg = changed(tiny("defense=[prune]", "optim.epochs=1"), "split", config.compose(["split=budget"])["split"])
    cfg["split"]["at"]["budget"] = 200
    row = execute(cfg, Store(tmp_path))
    assert row["cost/edge_parameters"] <= 200 < row["defense/prune/parameters_before"]
    assert row["defense/prune/parameters_after"] == row["cost/edge_parameters"]


# ---- runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", ["patrol", pytest.param("patrol_cem", marks=pytest.mark.slow)])
def test_a_run_repeats_from_any_stage_that_is_left(chain: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pruned shapes are replayed from the weights of the phase before: nothing of them is stored."""
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(tmp_path))
    cfg = tiny(f"defense=[{chain}]", *(SHORT if chain == "patrol" else SHORT_CEM), "optim.epochs=1",
               *((f"defense.prune_oneshot.{k}" for k in ("ratio=.5", "spared=0")) if chain == "patrol_cem" else ()),
               "split.at=2")  # fmt: skip
    store = Store(tmp_path)
    first = execute(copy.deepcopy(cfg), store)
    part = "prune" if chain == "patrol" else "prune_oneshot"
    assert first[f"defense/{part}/parameters_after"] < first[f"defense/{part}/parameters_before"]
    assert (first["cost/release_bytes"] < first[f"defense/{part}/bytes_before"]) == (chain == "patrol")
    fits = list(first["fit"])
    for lost in ([fits[-1]], fits[-2:], []):  # fine-tuning; masks and fine-tuning; only what follows the fits
        for folder in ("attack", "measure", "rows"):
            shutil.rmtree(tmp_path / folder)
        for key in lost:
            shutil.rmtree(tmp_path / "fit" / key)
        assert numbers(execute(copy.deepcopy(cfg), store)) == numbers(first)
