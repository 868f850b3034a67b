"""Training: what learns from what, what stays bit-identical, and what a kill changes (nothing)."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv import host
from splitpriv.data.base import Dataset, Split
from splitpriv.defenses.adversarial import Adversarial, Monitor
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.cem import Cem
from splitpriv.defenses.noise import Noise
from splitpriv.measure.measure import utility
from splitpriv.nets.decoders import conv
from splitpriv.nets.split import Backbone, SplitNet
from splitpriv.run.fit import Job, SplitFit
from splitpriv.run.recipe import Recipe
from splitpriv.run.train import load_weights, train_phase
from splitpriv.tasks.classify import Classify
from splitpriv.types import Epoch, Part, Phase, Spec, Step, UserError

SPEC = Spec(image=(1, 8, 8), classes=2)
DECODER = functools.partial(conv, width=8, widest=8)
ADVERSARIAL: dict[str, Any] = dict(  # noqa: C408
    net=DECODER, weight=1.0, loss="mse", threshold=0.5, ceiling=None, inner_loss="mse", padding="zero", lr=0.01,
    steps=1, warmup=0, start="seed",
)  # fmt: skip
CEM: dict[str, Any] = dict(  # noqa: C408
    mode="released", weight=1.0, rate_threshold=None, rate_reference=0.001, clusters=2, iterations=3, samples=None,
    log_entropy=True, floor=0.01, threshold=0.1, boost=10.0, cap=0.99, offset=0.001, covariance="full",
    em_iterations=1, jitter=1e-4,
)  # fmt: skip


class Small(Dataset):
    spec = SPEC
    crop, flip = 1, True


class Pull(Defense):
    """A penalty that draws z to one, and a parameter of its own that learns from it."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight, self.target = weight, nn.Parameter(torch.ones(()))

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        return self.weight * (z - self.target).square().mean()


def images(count: int, seed: int) -> Split:
    x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return Split(x, (x.flatten(1).sum(1) > 32).long(), torch.arange(count) + 1000 * seed)


TRAIN, VAL = images(48, 0), images(20, 1)


def make(chain: dict[str, Defense] | None = None) -> Defended:
    torch.manual_seed(0)
    stages = {
        "conv1": nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU()),
        "conv2": nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU()),
        "head": nn.Sequential(nn.Flatten(), nn.Linear(16, 2)),
    }
    cuts = {"shallow": "conv1", "middle": "conv1", "deep": "conv2"}
    return Defended(SplitNet(Backbone(stages, cuts), SPEC, at=1, bottleneck=None), chain or {}, SPEC)


CLASSIFY = Classify(smoothing=0.0)


def recipe(epochs: int = 2, lr: float = 0.05, clip: float | None = None) -> Recipe:
    return Recipe(
        epochs=epochs, batch=16, clip=clip, optimizer=functools.partial(torch.optim.SGD, lr=lr, momentum=0.9),
        schedule=functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5), rise=None,
    )  # fmt: skip


def job(train: tuple[Part, ...] = ("edge", "cloud", "defense"), select: str = "last", **settings: Any) -> Job:
    return Job("key", Phase("fit", train=train), recipe(**settings), Small(), CLASSIFY, TRAIN, VAL, select)


def watcher(model: Defended) -> Monitor:
    monitor = Monitor(net=DECODER, inner_loss="mse", padding="reflect", lr=0.01, steps=2)
    monitor.attach(model.shape, SPEC.image)
    return monitor


def fitted(model: Defended, home: Path, task: Job | None = None, monitor: Monitor | None = None) -> dict[str, Tensor]:
    home.mkdir(parents=True, exist_ok=True)
    train_phase(model, task or job(), home, monitor)
    return state(model)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor], start: str = "") -> bool:
    names = [name for name in a if name.startswith(start) and name in b]
    assert names
    return all(torch.equal(a[name], b[name]) for name in names)


def stepped(chain: dict[str, Defense], monitor: bool = False, **settings: Any) -> SplitFit:
    """A module after one step."""
    module = ready(chain, monitor, **settings)
    module.step(module.order[0], 0.0)
    return module


def ready(chain: dict[str, Defense], monitor: bool = False, **settings: Any) -> SplitFit:
    model = make(chain)
    module = SplitFit(model, job(**settings), watcher(model) if monitor else None)
    torch.manual_seed(1)
    module.order = module.batches()
    return module


@pytest.mark.parametrize(("length", "steps"), [(0.5, 2), (1.0, 3), (1.7, 5), (0.01, 1), (0, 6)])
def test_a_phase_may_end_within_an_epoch(length: float, steps: int, tmp_path: Path) -> None:
    seen: list[float] = []

    class Seen(Defense):
        def on_step_end(self, z: Tensor, step: Step) -> None:
            seen.append(step.progress * (length or 2))

    fitted(make({"seen": Seen()}), tmp_path, dataclasses.replace(job(), phase=Phase("fit", length)))
    assert seen == pytest.approx([i / 3 for i in range(steps)])  # of three steps an epoch
    assert len(json.loads((tmp_path / "curve.json").read_text())) == math.ceil(length or 2)


# ---- what learns from what -----------------------------------------------------------------------------------------


def adversarial(weight: float) -> Defense:
    return Adversarial(**{**ADVERSARIAL, "weight": weight})


@pytest.mark.parametrize("make_defense", [Pull, adversarial])
def test_a_penalty_reaches_the_edge(make_defense: Callable[[float], Defense]) -> None:
    off, on = (state(stepped({"pull": make_defense(weight)}).model) for weight in (0.0, 5.0))
    assert not same(off, on, "net.edge")
    assert same(off, on, "net.cloud")  # one step: the penalty has no path to the cloud


def test_cem_reaches_the_edge_once_it_has_statistics() -> None:
    def train(weight: float) -> dict[str, Tensor]:
        module = ready({"cem": Cem(**{**CEM, "weight": weight}), "noise": Noise(sigma=0.1)})
        module.model.eval()
        for name, defense in module.model.defenses():
            defense.on_epoch_end(Epoch("fit", 0, 0.05, lambda name=name: module.features(name)))
        module._set_modes()
        torch.manual_seed(2)
        module.step(module.order[0], 0.0)
        return state(module.model)

    assert not same(train(0.0), train(5.0), "net.edge")


def test_a_defence_s_own_parameters_learn_from_its_penalty() -> None:
    module = stepped({"pull": Pull(1.0)})
    assert module.model.chain["pull"].target.item() != 1.0


def test_the_main_optimiser_holds_everything_but_adversaries_and_monitor() -> None:
    module = ready({"adversarial": adversarial(1.0), "pull": Pull(1.0)}, monitor=True)
    held = {id(p) for g in module.main.param_groups for p in g["params"]}
    theirs = {id(p) for p in module.model.chain["adversarial"].parameters()} | {
        id(p) for p in module.monitor.parameters()
    }
    assert theirs
    assert not held & theirs
    assert held == {id(p) for p in module.model.parameters()} - theirs


def test_an_adversary_learns_only_from_its_own_loss() -> None:
    quiet, loud = (stepped({"a": adversarial(weight)}).model.chain["a"] for weight in (0.0, 100.0))
    assert same(state(quiet), state(loud))
    before = state(make({"a": adversarial(1.0)}).chain["a"])
    assert not same(before, state(loud))


def test_an_adversary_s_loss_never_reaches_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    real = Adversarial.adversary_loss

    def loss(self: Adversarial, z: Tensor, step: Step) -> Tensor:
        seen.append(z.requires_grad)
        return 1000 * real(self, z, step)

    plain = state(stepped({"a": adversarial(0.0)}).model)
    monkeypatch.setattr(Adversarial, "adversary_loss", loss)
    assert same(plain, state(stepped({"a": adversarial(0.0)}).model), "net.")
    assert seen == [False]


def test_an_adversary_takes_as_many_steps_as_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = Adversarial.adversary_loss
    monkeypatch.setattr(Adversarial, "adversary_loss", lambda s, z, step: (calls.append(1), real(s, z, step))[1])
    stepped({"a": Adversarial(**{**ADVERSARIAL, "steps": 3})})
    assert len(calls) == 3


def test_one_backward_pass_for_the_main_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = Tensor.backward
    monkeypatch.setattr(Tensor, "backward", lambda self, *a, **k: (calls.append(1), real(self, *a, **k))[1])
    stepped({"pull": Pull(1.0), "cem": Cem(**CEM), "noise": Noise(sigma=0.1)})
    assert len(calls) == 1
    calls.clear()
    stepped({"pull": Pull(1.0), "a": adversarial(1.0)}, monitor=True)
    assert len(calls) == 1 + 1 + 2  # main, adversary, two steps of the monitor


def test_each_defence_meets_z_at_its_own_place() -> None:
    met: dict[str, Tensor] = {}

    class Look(Defense):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def penalty(self, z: Tensor, step: Step) -> None:
            met[self.name] = z.detach()

    model = stepped({"clean": Look("clean"), "noise": Noise(sigma=3.0), "noisy": Look("noisy")}).model
    spread = (met["noisy"] - met["clean"]).std()
    assert 2.5 < float(spread) < 3.5
    assert model.shape == tuple(met["clean"].shape[1:])


def test_gradients_are_clipped_to_the_norm() -> None:
    free, clipped = ready({}), ready({}, clip=1e-3)
    before = state(free.model)
    for module in (free, clipped):
        module.step(module.order[0], 0.0)
    moved = [sum((state(m.model)[n] - before[n]).norm() ** 2 for n, _ in m.model.named_parameters()) ** 0.5
             for m in (free, clipped)]  # fmt: skip
    assert float(moved[1]) == pytest.approx(0.05 * 1e-3, rel=1e-3)
    assert moved[0] > 10 * moved[1]


# ---- what must not move --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("train", "frozen"), [
    (("cloud", "defense"), "net.edge"), (("edge", "defense"), "net.cloud"), (("edge", "cloud"), "chain"),
])  # fmt: skip
def test_frozen_parts_stay_bit_identical(train: tuple[Part, ...], frozen: str, tmp_path: Path) -> None:
    chain = {"pull": Pull(1.0), "a": adversarial(1.0)}
    model = make(chain)
    before = state(model)
    assert any("running_mean" in name for name in before)
    after = fitted(model, tmp_path, job(train=train))
    assert same(before, after, frozen)
    for part in train:
        learnt = {"edge": "net.edge", "cloud": "net.cloud", "defense": "chain"}[part]
        assert not same(before, after, learnt)


def test_evaluation_leaves_every_buffer_bit_equal(tmp_path: Path) -> None:
    module = stepped({"pull": Pull(1.0), "noise": Noise(sigma=0.1)}, monitor=True)
    before = state(module)
    module.model.eval()
    module.validate_epoch()
    assert len(list(module.features("noise"))) == 3
    utility(module.model, VAL, draws=2, batch=7)
    module.model.train()
    utility(module.model, VAL, draws=1, batch=7)  # evaluation mode whatever the mode was before
    assert module.model.training
    assert same(before, state(module))


def test_the_epoch_s_end_evaluates_in_evaluation_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bool] = []
    real = SplitFit.validate_epoch
    monkeypatch.setattr(SplitFit, "validate_epoch", lambda self: (modes.append(self.model.training), real(self))[1])

    class Curious(Defense):
        def on_epoch_end(self, epoch: Epoch) -> None:
            batches = list(epoch.features())
            modes.append(any(z.requires_grad for z, _ in batches))
            assert len(batches) == 3

    fitted(make({"c": Curious()}), tmp_path)
    assert modes == [False] * 4


def test_a_monitor_changes_no_bit_of_the_target(tmp_path: Path) -> None:
    chain = lambda: {"a": adversarial(1.0), "noise": Noise(sigma=0.5)}  # noqa: E731
    alone = fitted(make(chain()), tmp_path / "alone")
    model = make(chain())
    watched = fitted(model, tmp_path / "watched", monitor=watcher(model))
    assert alone.keys() == watched.keys()
    assert same(alone, watched)


def test_a_monitor_learns_and_logs_its_trajectory(tmp_path: Path) -> None:
    model = make()
    module = SplitFit(model, job(epochs=8), watcher(model))
    before = state(module.monitor)
    home = tmp_path / "fit"
    home.mkdir()
    monitor = watcher(model)
    train_phase(model, job(epochs=8), home, monitor)
    assert not same(before, state(monitor))
    curve = curve_of(home)
    assert [note["epoch"] for note in curve] == list(range(8))
    assert {"monitor/mse", "monitor/ssim", "accuracy/val", "accuracy/train", "task", "lr"} <= curve[0].keys()
    assert curve[-1]["monitor/mse"] < 0.8 * curve[0]["monitor/mse"]


def curve_of(home: Path) -> list[dict[str, Any]]:
    from splitpriv.run.row import read_json

    return read_json(home / "curve.json")


# ---- endings -------------------------------------------------------------------------------------------------------


def test_nan_ends_in_a_user_s_error_that_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^optim\.optimizer\.lr: .*NaN or infinite in epoch 1.*lower"):
        fitted(make(), tmp_path, job(lr=1e30))
    assert not (tmp_path / "weights.pt").exists()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("select", ["last", "best"])
def test_a_fit_killed_anywhere_ends_in_the_same_weights(
    select: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chain() -> dict[str, Defense]:
        return {"cem": Cem(**CEM), "a": adversarial(1.0), "noise": Noise(sigma=0.5)}

    task = job(epochs=4, select=select)
    model = make(chain())
    whole = fitted(model, tmp_path / "whole", task, watcher(model))
    real, steps = SplitFit.step, []
    for deadline in (5, 4, 1):  # steps until the next kill: within epochs 2, 3 and 3
        steps.clear()

        def dying(self: SplitFit, index: Tensor, share: float, deadline: int = deadline) -> None:
            steps.append(1)
            if len(steps) == deadline:
                raise Killed
            real(self, index, share)

        monkeypatch.setattr(SplitFit, "step", dying)
        torch.manual_seed(99)  # a new process knows nothing of the old one's generator
        model = make(chain())
        with pytest.raises(Killed):
            fitted(model, tmp_path / "killed", task, watcher(model))
    monkeypatch.setattr(SplitFit, "step", real)
    model = make(chain())
    torch.manual_seed(98)
    resumed = fitted(model, tmp_path / "killed", task, watcher(model))
    assert same(whole, resumed)
    assert curve_of(tmp_path / "whole") == curve_of(tmp_path / "killed")
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == ["curve.json", "weights.pt"]


def test_the_model_is_back_on_its_device_when_lightning_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[str] = []
    cpu, to = SplitFit.cpu, Defended.to
    monkeypatch.setattr(SplitFit, "cpu", lambda self: [moves.append("lightning"), cpu(self)][1])
    monkeypatch.setattr(Defended, "to", lambda self, device: [moves.append(str(device)), to(self, device)][1])
    fitted(make(), tmp_path)
    assert moves == ["lightning", str(TRAIN.y.device)]


def test_select_best_restores_the_best_epoch_on_val(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots: list[dict[str, Tensor]] = []
    accuracies = iter([0.3, 0.9, 0.9, 0.5])

    def validate(self: SplitFit) -> dict[str, float]:
        snapshots.append(state(self.model))
        return {"accuracy/val": next(accuracies)}

    monkeypatch.setattr(SplitFit, "validate_epoch", validate)
    model = make()
    final = fitted(model, tmp_path, job(epochs=4, select="best"))
    assert same(final, snapshots[1])
    assert not same(final, snapshots[3])
    fresh = make()
    load_weights(fresh, tmp_path)
    assert same(state(fresh), snapshots[1])


def test_select_last_keeps_the_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.9, 0.1])
    monkeypatch.setattr(SplitFit, "validate_epoch", lambda self: {"accuracy/val": next(accuracies)})
    model = make()
    final = fitted(model, tmp_path)
    assert not (tmp_path / "best.pt").exists()
    assert same(final, state(model))


def test_load_weights_of_an_idle_phase_leaves_the_chain(tmp_path: Path) -> None:
    trained = fitted(make(), tmp_path)
    model = make({"pull": Pull(1.0)})
    load_weights(model, tmp_path, net_only=True)
    assert same(trained, state(model), "net.")
    assert model.chain["pull"].target.item() == 1.0


# ---- reads ---------------------------------------------------------------------------------------------------------


def test_the_host_is_asked_twice_an_epoch_however_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    real = host.to_host
    monkeypatch.setattr(host, "to_host", lambda t: (reads.append(1), real(t))[1])
    counts = []
    for name, batch in (("few", 48), ("many", 4)):
        reads.clear()
        task = job(epochs=3)
        object.__setattr__(task.recipe, "batch", batch)
        model = make({"a": adversarial(1.0), "noise": Noise(sigma=0.1)})
        fitted(model, tmp_path / name, task, watcher(model))
        counts.append(len(reads))
    assert counts == [6, 6]


def test_nothing_is_logged_within_a_step() -> None:
    import inspect

    import splitpriv.run.fit

    source = inspect.getsource(splitpriv.run.fit)
    assert "self.log" not in source
    assert ".item()" not in source


@pytest.mark.parametrize(
    ("rise", "rates"), [(None, [1, 1, 1, 0.5, 0.5, 0.5]), (0.5, [0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])]
)
def test_rates_change_by_epoch_or_at_every_step(rise: float | None, rates: list[float], tmp_path: Path) -> None:
    seen: list[float] = []

    class Seen(Defense):
        def on_step_end(self, z: Tensor, step: Step) -> None:
            seen.append(step.lr)

    asked = dataclasses.replace(recipe(lr=0.1), rise=rise)
    fitted(make({"seen": Seen()}), tmp_path, dataclasses.replace(job(), recipe=asked))
    assert seen == pytest.approx([0.1 * rate for rate in rates])


def test_what_came_frozen_stays_frozen_in_every_phase(tmp_path: Path) -> None:
    net = make().net
    net.edge.conv1[0].weight.requires_grad_(False)
    model = copy.deepcopy(Defended(net, {"pull": Pull(0.1)}, SPEC))
    assert model.frozen == {"net.edge.conv1.0.weight"}
    before = state(model)
    for phase in (("cloud",), ("edge", "cloud", "defense")):
        fitted(model, tmp_path, job(phase))
    moved = {name for name, value in state(model).items() if not torch.equal(value, before[name])}
    assert {"net.edge.conv1.1.weight", "net.cloud.head.1.weight", "chain.pull.target"} <= moved
    assert "net.edge.conv1.0.weight" not in moved


class Rival(Pull):
    """A defence with an adversary, each of its answers as said."""

    def __init__(self, loss: Any = lambda z, p: (z * p).mean(), mine: bool = True, penalty: Any = None) -> None:
        super().__init__(1.0)
        self.loss, self.mine, self.pull_by, self.body = loss, mine, penalty, nn.Parameter(torch.ones(()))

    def attach(self, model: Defended, spec: Spec, shape: Any) -> None:
        self.theirs = [next(model.net.parameters())]

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        return self.pull_by(z) if self.pull_by else super().penalty(z, step)

    def adversary_parameters(self) -> list[nn.Parameter]:
        return [self.body] if self.mine else self.theirs

    def adversary_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.adversary_parameters(), 0.1)

    def adversary_loss(self, z: Tensor, step: Step) -> Tensor:
        return self.loss(z, self.body)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"penalty": lambda z: z.mean((1, 2, 3))}, "penalty returns a tensor (16,); return a scalar tensor"),
        ({"penalty": lambda z: 0.1}, "penalty returns a float; return a scalar tensor"),
        ({"penalty": lambda z: z.detach().mean()}, "penalty has no gradient, so that nothing learns from it"),
        ({"loss": lambda z, p: z * p}, "adversary_loss returns a tensor (16, 4, 4, 4)"),
        ({"loss": lambda z, p: z.mean()}, "adversary_loss has no gradient"),
        ({"mine": False}, "adversary_optimizer must train what adversary_parameters names"),
    ],
)
def test_losses_of_one_s_own_are_scalars_from_which_something_learns(how: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        stepped({"own": Rival(**how)})
    assert str(error.value).startswith("defense.own: ") and told in str(error.value)


def test_a_penalty_on_an_edge_that_came_frozen_or_rests_is_told_apart() -> None:
    net = make().net
    net.edge.requires_grad_(False)
    frozen, resting = Defended(net, {"own": NoPull()}, SPEC), make({"own": NoPull()})
    SplitFit(resting, job(("cloud",))).step(torch.arange(16), 0.0)  # another phase is the one that it acts in
    with pytest.raises(UserError, match=r"defense.own: penalty has no gradient"):
        SplitFit(frozen, job()).step(torch.arange(16), 0.0)


class NoPull(Defense):
    def penalty(self, z: Tensor, step: Step) -> Tensor:
        return z.square().mean()
