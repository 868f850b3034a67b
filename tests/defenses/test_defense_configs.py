"""Every YAML of a defence, as it ships: it acts, composes, trains, and reads nothing back."""

from __future__ import annotations

import copy
import functools
import math

import pytest
import torch
from shipped import NAMES as SHIPPED
from shipped import composed, links
from small import changed

from splitpriv import config
from splitpriv.contract.defenses import (
    acts,
    equal,
    images,
    leaves_no_trace_when_off,
    model,
    takes_a_flat_feature,
    takes_a_raw_image,
    trained,
    weights,
)
from splitpriv.types import UserError

RESIDUAL = ("rolss", "skip")  # they take residual networks alone: tests/papers/test_transfer.py, test_prune.py
NAMES = [n for n in SHIPPED if n not in RESIDUAL]
ACTS = {  # what a defence does; a new one must do something, and says what in a line of its own here
    "none": set(), "noise": {"release"}, "laplace": {"release"}, "ldp": {"release"}, "dropout": {"release"},
    "topk": {"release"}, "quantize": {"release"}, "nopeek": {"penalty"}, "adversarial": {"penalty"},
    "ressfl": {"penalty"}, "vib": {"release", "penalty"}, "mid": {"edge", "penalty"},
    "cem": {"penalty"}, "cem_compat": {"penalty"}, "cem_paper": {"penalty"},
    "token_shuffle": {"release"}, "token_drop": {"release"}, "patch_permutation": {"release"},
    "selective_ensemble": {"release", "penalty", "edge"}, "two_servers": {"release"}, "dual_path": {"release"},
    "prune": {"edge"}, "lipschitz": {"penalty"}, "patrol": {"edge", "penalty"}, "patrol_cem": {"penalty"},
    "arl": {"penalty"}, "maxent": {"penalty"}, "aioi": {"penalty"}, "deepobfuscator": {"penalty"}, "pan": {"penalty"},
    "disco": {"release", "penalty"}, "disco_official": {"release", "penalty"}, "siamese": {"penalty"},
    "pca": {"release"}, "random_projection": {"release"}, "null_space": {"release"},
    "mixup": {"release", "penalty"}, "label_smoothing": {"penalty"}, "sparse_coding": {"release", "penalty"},
    "complex_valued": {"release"}, "tl_dmi": set(),
    "hsic": {"penalty"}, "pearson": {"penalty"}, "bido": {"penalty"}, "bido_coco": {"penalty"},
    "blur": {"release"}, "codec": {"release"}, "dfil": {"release", "penalty"},
    "adversarial_noise": {"release"}, "infodecom": {"release", "penalty"}, "uacem": {"penalty"},
    "knn_entropy": {"penalty"},
}  # fmt: skip
# So that it acts on a network that has learnt nothing yet.
EAGER = {n: {"defense.ressfl.threshold": 0.0} for n in ("ressfl", "patrol_cem")}
EAGER |= {n: {"defense.adversarial.ceiling": None} for n in ("adversarial", "patrol")}
EAGER["aioi"] = {"defense.aioi.budget": 0.0, "defense.aioi.weight": 1000.0}
EAGER["patrol_cem"] |= {"defense.ressfl.steps": 1}
CLASSIFIERS = (
    "arl.classifier",
    "maxent.classifier",
    "aioi.classifier",
    "deepobfuscator.classifier",
    "disco.classifier",
    "disco.pruner",
)
LINEAR = {"_target_": "splitpriv.nets.probes.mlp", "hidden": []}
SMALL = {
    "defense.cem.iterations": 2, "defense.cem.em_iterations": 1, "defense.adversarial.net.blocks": 0,
    "defense.adversarial.net.width": 8, "defense.ressfl.net.blocks": 0, "defense.ressfl.net.width": 8,
    "defense.pan.net.width": 4, "defense.disco.decoder.width": 4, "defense.deepobfuscator.decoder.width": 4,
    **{f"defense.{n}": LINEAR for n in CLASSIFIERS},
    "defense.label_smoothing.start": 0.0, "defense.mixup.bank": 4, "defense.sparse_coding.iterations": 3,
    "defense.tl_dmi.layers": 1,
    "defense.adversarial_noise.net.width": 8, "defense.adversarial_noise.net.widest": 8,
}  # fmt: skip


def settings(name: str, *chain: str) -> config.Config:
    """The config of defence `name`, with those of `chain` around its "*" if given."""
    cfg = {**composed(), "defense": links()[name]}
    for key, value in {**SMALL, **EAGER.get(name, {})}.items():
        if key.split(".")[1] in cfg["defense"]:
            cfg = changed(cfg, key, value)
    if chain:
        around = {c: links()[c] for c in chain if c != "*"} | {"*": cfg["defense"]}
        cfg["defense"] = functools.reduce(lambda a, b: a | b, [around[c] for c in chain])
    return copy.deepcopy(cfg)


@functools.cache
def _demands(name: str) -> tuple[str, ...]:
    try:
        model(settings(name))
    except UserError:
        return ("*", "noise")
    return ()


def alone(name: str) -> config.Config:
    """Defence `name` with no more beside it than it demands."""
    return settings(name, *_demands(name))


# ---- switched on ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_defence_acts_and_switched_off_leaves_no_trace(name: str) -> None:
    """At deployment it changes what leaves the device, in training what the edge learns; without its hooks the
    undefended network is trained bit by bit, so comparisons are paired: to build a defence, or to train its adversary,
    consumes no random number."""
    cfg = alone(name)
    on = trained(cfg)
    also = ("attach",) if name == "mid" else ()  # it replaces the network's head
    assert leaves_no_trace_when_off(cfg, on, also) == (name != "none")
    did = acts(on.model, {*links()[name]})  # not the noise it demands
    assert did == ACTS.get(name, did)
    assert did or name in ("none", "tl_dmi")  # which freezes layers: tests/papers/test_transfer.py


# ---- composed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_defence_takes_a_raw_image(name: str) -> None:
    takes_a_raw_image(alone(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_defence_takes_a_flat_feature(name: str) -> None:
    takes_a_flat_feature(alone(name))


@pytest.mark.parametrize(
    "name", [n for n in NAMES if not n.startswith("cem") and n != "two_servers"]
)  # nothing follows shares
def test_cem_works_before_and_after_every_other_defence(name: str) -> None:
    without = weights(trained(settings(name, "*", "noise")), "net.edge")
    for order in (("cem", "*", "noise"), ("*", "cem", "noise")):
        cfg = settings(name, *order)
        first = order[0] == "cem"
        assert list(cfg["defense"])[0 if first or name == "none" else -2 if name != "noise" else 1] == "cem"
        module = trained(cfg)
        assert all(torch.isfinite(value) for value in module.sums.values())
        assert module.sums["penalty/cem"] != 0
        assert not equal(weights(module, "net.edge"), without)


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
