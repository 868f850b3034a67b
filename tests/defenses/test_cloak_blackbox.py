"""Black-box Cloak: what the target is asked, what it is not, and what is copied to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from planted import PLANTED, accuracy, defended, images, learn, module_of, same, shipped, state, stretch

from splitpriv import config
from splitpriv.defenses.base import Defended
from splitpriv.run.prepare import check
from splitpriv.types import Phase

X = images().images


def blackbox(**changes: Any) -> Defended:
    node = shipped("cloak_blackbox")["substitute"]
    net = {"_target_": "splitpriv.nets.small.linear", "features": 4, "hidden": 8}
    settings = {"rho_init": -1.0, "noise": {"increase": stretch(0.02, 0.1)}, "suppress": stretch(0.01, 0.0)}
    return defended("cloak_blackbox", **settings, substitute={**node, "net": net, "lr": 0.02, **changes}, ratio=0.5)


def test_a_map_learned_through_a_substitute_protects_the_target() -> None:
    torch.manual_seed(0)
    model = blackbox()
    net = state(model.net)
    cloak: Any = model.chain["cloak"]
    assert [p.name for p in cloak.phases] == ["fit", "substitute", "increase", "suppress"]
    learn(model, 30, "substitute")
    finished = state(cloak.substitute)
    agreement = (cloak.substitute.net.eval()(X).argmax(1) == images().y).float().mean()
    assert agreement > 0.9
    learn(model, 16, "increase")
    learn(model, 4, "suppress")
    assert same(finished, state(cloak.substitute)) == set(finished)
    assert same(net, state(model.net)) == set(net)
    assert accuracy(model) > 0.65
    assert cloak.map.sigma.max() > 1.0 > 0.2 > cloak.map.sigma.flatten()[PLANTED].mean()


@pytest.mark.parametrize("cut", [["split=raw"], ["split=middle"], ["split=bottleneck"]])
def test_a_substitute_is_not_of_the_target_s_own_architecture(cut: list[str]) -> None:
    words = ["defense=[cloak_blackbox]", *cut]
    (problem,) = check(config.compose([*words, "backbone=resnet20_slim"]))
    assert problem.startswith("defense.cloak.substitute.net: has the target's own architecture")
    other = problem.rpartition("as in ")[2]
    assert check(config.compose([*words, "backbone=resnet20_slim", other])) == []
    assert check(config.compose([*words, "backbone=resnet20"])) == []


def test_the_target_lends_its_answers_and_no_gradient() -> None:
    model = blackbox(net={"_target_": "splitpriv.nets.small.tiny", "width": 2})  # with BatchNorm
    cloak: Any = model.chain["cloak"]
    asked = []
    cloak.substitute.ask = lambda z: asked.append(z) or model.classify(z)
    for phase in cloak.phases[1:]:
        module = module_of(model, phase)
        asked.clear()
        before = state(cloak.substitute)
        module.order = module.batches()
        module.step(module.order[0], 0.0)
        assert (same(before, state(cloak.substitute)) == set(before)) == (phase.name != "substitute")
        assert len(asked) == 1
        assert torch.equal(asked[0], X[module.order[0]])  # clean: what it asks is not what it will send
        assert not cloak.after_edge(X).requires_grad
    labels = cloak.substitute._labels(X, 1 - images().y)
    assert torch.equal(labels, images().y)
    true: Any = blackbox(labels="true").chain["cloak"]
    assert torch.equal(true.substitute._labels(X, 1 - images().y), 1 - images().y)


def test_the_committed_code_copies_sigma_alone() -> None:
    for copy, shift in ((True, 3.0), (False, 0.0)):
        model = blackbox(copy_mu=copy)
        cloak: Any = model.chain["cloak"]
        cloak.values.data.fill_(3.0)
        cloak.mask.zero_()
        assert (model.release(X) == shift).all()
        cloak.on_phase_start(Phase("increase"), model)
        cloak.map.mu.data.fill_(3.0)
        cloak.map.rho.data.fill_(-30.0)
        torch.testing.assert_close(model.release(X), X + shift)


def test_the_substitute_is_another_network_and_starts_as_the_seed_has_it() -> None:
    assert shipped("cloak_blackbox")["substitute"]["net"]["_target_"] != config.compose([])["backbone"]["_target_"]
    starts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        cloak: Any = blackbox().chain["cloak"]
        starts.append(next(cloak.substitute.parameters()).detach())
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
