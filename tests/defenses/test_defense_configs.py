"""Every YAML of a defence, as it ships: it acts, composes, trains, and reads nothing back."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import pytest
import torch
from shipped import NAMES, composed
from small import changed
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv import config, host, targets
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended, Defense
from splitpriv.run.fit import Job, SplitFit
from splitpriv.run.parts import WHOLE, make_model, make_monitor, schedule
from splitpriv.run.recipe import Recipe
from splitpriv.tasks.classify import Classify
from splitpriv.types import Epoch, Step, UserError

ACTS = {  # what a defence does; a new one must do something, and says what in a line of its own here
    "none": set(), "noise": {"release"}, "laplace": {"release"}, "ldp": {"release"}, "dropout": {"release"},
    "topk": {"release"}, "quantize": {"release"}, "nopeek": {"penalty"}, "adversarial": {"penalty"},
    "ressfl": {"penalty"}, "vib": {"release", "penalty"}, "mid": {"edge", "penalty"},
    "cem": {"penalty"}, "cem_compat": {"penalty"}, "cem_paper": {"penalty"},
    "prune": {"edge"}, "lipschitz": {"penalty"}, "patrol": {"edge", "penalty"}, "patrol_cem": {"penalty"},
}  # fmt: skip
# So that it acts on a network that has learnt nothing yet.
EAGER = {n: {"defense.ressfl.threshold": 0.0} for n in ("ressfl", "patrol_cem")}
EAGER |= {n: {"defense.adversarial.ceiling": None} for n in ("adversarial", "patrol")}
SMALL = {
    "defense.cem.iterations": 2, "defense.cem.em_iterations": 1, "defense.adversarial.net.blocks": 0,
    "defense.adversarial.net.width": 8, "defense.ressfl.net.blocks": 0, "defense.ressfl.net.width": 8,
}  # fmt: skip
RECIPE = Recipe(
    epochs=2, batch=12, clip=None, optimizer=functools.partial(torch.optim.SGD, lr=0.05), schedule=None
)  # fmt: skip


def settings(name: str, *chain: str) -> config.Config:
    """The config of defence `name`, with those of `chain` around its "*" if given."""
    cfg = copy.deepcopy(composed(f"defense=[{name}]"))
    for key, value in {**SMALL, **EAGER.get(name, {})}.items():
        if key.split(".")[1] in cfg["defense"]:
            cfg = changed(cfg, key, value)
    if chain:
        links = {c: composed(f"defense=[{c}]")["defense"] for c in chain if c != "*"} | {"*": cfg["defense"]}
        cfg["defense"] = copy.deepcopy(functools.reduce(lambda a, b: a | b, [links[c] for c in chain]))
    return cfg


def alone(name: str) -> config.Config:
    """Defence `name` with no more beside it than it demands."""
    cfg = settings(name)
    try:
        model(cfg)
    except UserError:
        return settings(name, "*", "noise")
    return cfg


@functools.cache
def dataset(size: int = 8) -> Any:
    node = {**composed()["dataset"], "size": size}
    return targets.build(node, "dataset")()


def model(cfg: config.Config, size: int = 8) -> Defended:
    torch.manual_seed(0)
    return make_model(cfg, dataset(size))


def images(size: int = 8) -> Split:
    torch.manual_seed(7)
    return Split(0.5 + 0.05 * torch.randn(24, 1, size, size), torch.arange(24) % 2, torch.arange(24))


def step_of(module: Defended, data: Split, epoch: int = 1) -> Step:
    return Step(data.images, data.y, {}, module.net.edge, "fit", epoch, 0.5, 0.05)


def trained(cfg: config.Config, watch: bool = False, epochs: int = 2) -> SplitFit:
    """Two epochs of two steps, as the engine takes them."""
    data, target = images(), model(cfg)
    for phase in (p for p in schedule(target) if not p.idle):
        for _, defense in target.defenses():
            defense.on_phase_start(phase, target)
        job = Job("key", phase, RECIPE, dataset(), Classify(smoothing=0.0), data, data)
        module = SplitFit(target, job, make_monitor(cfg, target) if watch else None)
        for epoch in range(epochs):
            torch.manual_seed(epoch)
            module.epoch, module.order = epoch, module.batches()
            module._set_modes()
            for i, index in enumerate(module.order):
                module.step(index, i / 2)
            target.eval()
            for name, defense in target.defenses():
                defense.on_epoch_end(Epoch(phase.name, epoch, 0.05, lambda n=name, m=module: m.features(n)))
    return module


def weights(module: SplitFit | Defended, part: str = "net") -> list[Tensor]:
    target = module.model if isinstance(module, SplitFit) else module
    return [v.clone() for k, v in target.state_dict().items() if k.startswith(part)]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) > 0 and all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def own(name: str, module: Defended) -> list[Defense]:
    """The links that the YAML brings, not the noise it demands."""
    return [d for key, d in module.defenses() if key in composed(f"defense=[{name}]")["defense"]]


# ---- switched on ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_defence_changes_the_release_or_the_loss(name: str) -> None:
    """At deployment what leaves the device; in training what the edge learns."""
    target = trained(alone(name)).model.eval()
    data, acts = images(), set()
    step = step_of(target, data)
    x = data.images
    for defense in own(name, target):
        for place, _, z in target.walk(x):
            if place and target.chain[place] is defense:
                received = z
        if not torch.equal(defense.before_edge(x), x) or not torch.equal(defense.after_edge(received), received):
            acts.add("release")
        penalty = defense.penalty(received, step)
        if penalty is not None:
            gradients = torch.autograd.grad(penalty, list(target.net.edge.parameters()), allow_unused=True)
            assert torch.isfinite(penalty)
            assert any(g is not None and g.abs().max() > 1e-8 for g in gradients)
            acts.add("penalty")
    if [v.shape for v in weights(target)] != [v.shape for v in weights(model(settings("none")))]:
        acts.add("edge")
    assert acts == ACTS.get(name, acts)
    assert acts or name == "none"
    changes = not torch.equal(target.net.edge(x), target.release(x))
    assert "edge" in acts or ("release" in acts) == changes or len(target.chain) > 1


@pytest.mark.parametrize("name", NAMES)
def test_switched_off_it_trains_the_undefended_network_bit_by_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So comparisons are paired: to build a defence, or to train its adversary, consumes no random number."""
    cfg, plain = alone(name), settings("none")
    states = [torch.get_rng_state() for c in (plain, cfg) if model(c)]
    assert torch.equal(*states)
    if schedule(model(cfg)) != WHOLE:  # its network arrives trained
        fresh, built = (list(model(c).net.parameters()) for c in (plain, cfg))
        assert equal(fresh, built)
        if all("edge" not in phase.train for phase in schedule(model(cfg)) if not phase.idle):
            assert equal(list(trained(cfg).model.net.parameters()), built)
        return
    reference = weights(trained(plain))
    on = weights(trained(cfg))
    for defense in model(cfg).chain.values():
        head = ["attach"] if name == "mid" else []  # it replaces the network's head
        for hook in ("before_edge", "after_edge", "penalty", *head):
            monkeypatch.setattr(type(defense), hook, getattr(Defense, hook))
    assert equal(weights(trained(cfg)), reference)
    assert equal(on, reference) == (name == "none")


# ---- composed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_defence_takes_a_raw_image(name: str) -> None:
    cfg = alone(name)
    cfg["split"] = {"at": 0, "bottleneck": None}
    module = trained(cfg)
    assert module.model.shape == (1, 8, 8)
    assert all(torch.isfinite(value) for value in module.sums.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_defence_takes_a_flat_feature(name: str) -> None:
    cfg = alone(name)
    cfg["backbone"], cfg["split"] = {"_target_": "splitpriv.nets.small.lenet5"}, {"at": "fc1", "bottleneck": None}
    target, data = model(cfg, 28), images(28)
    assert target.shape == (84,)
    for place, defense, z in target.walk(data.images):
        if defense is not None:
            for _ in range(bool(defense.adversary_parameters())):
                defense.adversary_loss(z.detach(), step_of(target, data)).backward()
            penalty = defense.penalty(z, step_of(target, data))
            assert penalty is None or torch.isfinite(penalty), place
    assert target.classify(z).shape == (24, dataset(28).spec.classes)


@pytest.mark.parametrize("first", [True, False], ids=["cem first", "cem second"])
@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("cem")])
def test_cem_works_on_top_of_every_other_defence(name: str, first: bool) -> None:
    order = ("cem", "*", "noise") if first else ("*", "cem", "noise")
    cfg = settings(name, *order)
    assert list(cfg["defense"])[0 if first or name == "none" else -2 if name != "noise" else 1] == "cem"
    module = trained(cfg)
    assert all(torch.isfinite(value) for value in module.sums.values())
    assert module.sums["penalty/cem"] != 0
    off = changed(cfg, "defense.cem.weight", 0)
    assert not equal(weights(module, "net.edge"), weights(trained(off), "net.edge"))


def test_a_defence_meets_z_where_it_is_listed() -> None:
    x = images().images
    for order in (("cem", "*"), ("*", "cem")):
        target = model(settings("noise", *order)).eval()
        met = {place: z for place, _, z in target.walk(x)}
        clean = target.features(x)
        assert torch.equal(met["cem"], clean) == (order[0] == "cem")
        last = met["cem"] if order[0] == "*" else met[""]
        assert (last - clean).std().item() == pytest.approx(0.025, rel=0.1)
        assert torch.equal(met["noise"], clean)
        assert target.chain["cem"].sigma == pytest.approx(0.025)


def test_topk_after_noise_is_sparse_and_noise_after_topk_is_not() -> None:
    x = images().images
    for order, share in ((("noise", "*"), 0.6), (("*", "noise"), 0.0)):
        release = model(settings("topk", *order)).eval().release(x)
        assert (release == 0).float().mean().item() == pytest.approx(share, abs=0.02)


def test_independent_noises_add_in_variance() -> None:
    target = model(settings("laplace", "noise", "*", "ldp"))
    parts = 0.025, 0.1 * 2**0.5, target.chain["ldp"].noise_std
    assert target.noise_std == pytest.approx(math.hypot(*parts))
    bare = model(settings("laplace", "noise", "*")).eval()
    x = images().images
    noise = torch.cat([bare.release(x) - bare.features(x) for _ in range(8)])
    assert noise.std().item() == pytest.approx(bare.noise_std, rel=0.05)


def test_two_chains_of_co_trained_decoders_and_a_monitor_train_together() -> None:
    cfg = settings("adversarial", "*", "noise")
    cfg["defense"]["ressfl"] = settings("ressfl")["defense"]["ressfl"]
    cfg["monitor"] = copy.deepcopy(composed("monitor=decoder")["monitor"])
    cfg["monitor"]["net"] = {"_target_": "splitpriv.nets.decoders.conv", "width": 8, "widest": 8}
    module = trained(cfg, watch=True)
    assert {"adversary/adversarial", "adversary/ressfl", "monitor/loss"} <= module.sums.keys()
    assert equal(weights(module), weights(trained(cfg)))


# ---- on an accelerator ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_training_reads_nothing_from_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake tensor has no data: whatever asks for a value fails."""
    monkeypatch.setattr(host, "to_host", lambda values: [12.0] * values.numel())
    dataset()
    with FakeTensorMode():
        module = trained(alone(name), epochs=1)
    assert module.sums
