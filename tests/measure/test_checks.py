"""Every doubt is raised by what should raise it, and by nothing else."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from string import Formatter
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from splitpriv import config
from splitpriv.attacks.probe import Probe
from splitpriv.config import Config
from splitpriv.data.base import Split
from splitpriv.data.knowledge import OtherSet
from splitpriv.measure import remedies
from splitpriv.measure.checks import Facts, above_ceiling, doubts
from splitpriv.measure.flags import Flag, flags_of, raised
from splitpriv.measure.kinds import KINDS
from splitpriv.measure.otherwise import OTHERWISE
from splitpriv.run.prepare import check
from splitpriv.targets import build
from splitpriv.types import Spec

FLOORS: dict[str, Any] = {"mean_image": {"mse": 0.08}, "random_image": {"mse": 0.15}}


EDGE = frozenset({"edge"})
DECODER, RMLE = {"_target_": "Decoder"}, {"_target_": "Rmle"}


def facts(mse: float = 0.02, **changed: Any) -> Facts:
    return Facts(**{"means": {"mse": mse}, "settings": DECODER, "converged": True, **changed})


BLACK = facts(0.03, requires=frozenset({"query", "aux"}))
WHITE = facts(0.02, settings=RMLE, requires=EDGE)
FINE = {"decoder": BLACK, "rmle": WHITE}


def test_a_sound_evaluation_has_no_flags():
    assert doubts(FINE, **FLOORS) == []
    assert (
        doubts(FINE, **FLOORS, signal=50.0, overlaps={"train/aux": 0},
               utility={"accuracy": 0.9}) == []
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "flag"),
    [
        ({"attacks": {**FINE, "weak": facts(0.0799)}}, "weak: no better than the mean image of aux"),
        ({"attacks": {**FINE, "weak": facts(0.16)}}, "weak: worse than a random image of aux"),
        ({"attacks": {**FINE, "short": facts(0.03, converged=False)}}, "short: not converged"),
        ({"attacks": {**FINE, "broken": facts(math.nan)}}, "broken: mse is nan"),
        ({"attacks": {"decoder": BLACK}}, "only one attack was run"),
        ({"attacks": {"decoder": facts(0.01), "rmle": WHITE}}, "white box (rmle) weaker than black box (decoder)"),
        (
            {
                "attacks": {
                    **FINE,
                    "rmle_eot": facts(0.03, settings={**RMLE, "eot": 8}, requires=frozenset({"edge"}), eot=8),
                }
            },
            "rmle_eot: weaker than rmle, which averages fewer gradients",
        ),
        (
            {"attacks": {**FINE, "decoder_avg": facts(0.05, draws=16, settings={**DECODER, "draws": 16})}},
            "decoder_avg: weaker than decoder, which averages fewer releases",
        ),
        (
            {"attacks": {"all": facts(0.02, requires=EDGE, suite=True, members={"decoder": 0.02, "search": 0.03})}},
            "white box (all's search) weaker than black box (its decoder)",
        ),
        (
            {
                "attacks": {
                    "all": facts(
                        0.02,
                        requires=EDGE,
                        suite=True,
                        contradicted=0.97,
                        members={"decoder": 0.3, "search": 0.4, "unaided": 0.02},
                    )
                }
            },
            "all: 97% of the victims are unlike aux, from which it learned",
        ),
        ({"attacks": {"all": facts(0.02, suite=True, chosen_on=2)}}, "all: chose its answer on 2 images of aux"),
        ({"signal": 0.0}, "release is constant: two draws show no sign of the image (repeated ones may)"),
        ({"signal": math.nan}, "release is constant: two draws show no sign of the image (repeated ones may)"),
        ({"overlaps": {"train/aux": 9000, "val/aux": 0}}, "splits overlap: train/aux (9000 images)"),
        ({"utility": {"accuracy": math.nan}}, "utility: accuracy is nan"),
    ],
)
def test_each_doubt(changed, flag):
    assert [f.text for f in doubts(**{"attacks": FINE, **FLOORS, **changed})] == [flag]


@pytest.mark.parametrize(("tier", "effort", "kind", "remedy"), [
    ("quick", 1.0, "short", "attack.suite.tier=plus"), ("standard", 0.3, "unsettled", "attack.suite.tier=plus"),
    ("standard", 0.05, "short", "attack.suite.tier=plus"), ("plus", 0.3, "unsettled", ""),
    ("standard", None, "unsettled", "attack.suite.tier=plus"),
])  # fmt: skip
def test_a_suite_promises_its_plateau_unless_its_name_says_otherwise(tier, effort, kind, remedy) -> None:
    suite = facts(0.01, suite=True, converged=False, settings={"tier": tier}, effort=effort)
    (flag,) = doubts({"suite": suite}, **FLOORS)
    assert (flag.kind, flag.remedy, flag.voids) == (kind, remedy, kind == "unsettled")


def test_twins_differ_in_one_setting_only():
    other = facts(0.05, draws=16, settings={**DECODER, "loss": "l1"})
    assert doubts({**FINE, "other": other}, **FLOORS) == []
    assert doubts({**FINE, "better": facts(0.02, draws=16)}, **FLOORS) == []


def test_an_attack_above_its_ceiling() -> None:
    settings = {"base.epochs": 4, "net.width": 8}
    (flag,) = above_ceiling("decoder", {"privacy/decoder/mse": 0.01, "ceiling/decoder/mse": 0.05}, settings, 100)
    assert flag.text == "decoder: better than on the undefended network" and flag.subject == "decoder"
    assert flag.remedy == "attack.decoder.base.epochs=8"
    assert not [*above_ceiling("decoder", {"privacy/decoder/mse": 0.0499, "ceiling/decoder/mse": 0.05}, {}, 100)]


@pytest.mark.parametrize(("group", "kind"), [("ceiling", "ceiling"), ("clean", "clean")])
def test_a_share_above_its_ceiling_by_more_than_chance(group: str, kind: str) -> None:
    row = {"privacy/probe/balanced_accuracy": 0.75, f"{group}/probe/balanced_accuracy": 0.7}
    (flag,) = above_ceiling("probe", row, {"epochs": 50}, 1000)
    assert (flag.kind, flag.remedy) == (kind, "attack.probe.epochs=100")
    assert not [*above_ceiling("probe", row, {}, 100)] and not [*above_ceiling("reid", row, {}, 1000)]


# ---- what clears them ----------------------------------------------------------------------------------------------


def remedies_of(**changed: Any) -> dict[str, str]:
    return {flag.kind: flag.remedy for flag in doubts(**{"attacks": FINE, **FLOORS, **changed})}


def test_a_longer_attack_is_named() -> None:
    attacks = {**FINE, "short": facts(0.03, converged=False, settings={"epochs": 16, "net": {"epochs": 3}})}
    assert remedies_of(attacks=attacks) == {"short": "attack.short.epochs=32"}
    weak = {"decoder": facts(0.079), "rmle": facts(0.09, settings={"steps": 200})}
    assert remedies_of(attacks=weak)["mean"] == "attack.rmle.steps=400"


def test_the_lists_of_attacks_that_clear_a_doubt_have_all_that_is_lacking() -> None:
    shipped = {name: facts(settings=remedies.load("attack", name)) for name in ("decoder", "rmle")}
    asked = {"noise": ["draws"], "cloak": ["mask"], "mid": ["answers"]}
    both = doubts(shipped, **FLOORS, adaptive=asked)
    assert {f.remedy for f in both} == {"attack=[decoder,rmle,decoder_avg,decoder_mask]"}
    assert [f.subject for f in both] == ["noise", "cloak"]
    alone = doubts({"decoder": shipped["decoder"]}, **FLOORS, adaptive={"noise": ["draws"]})
    assert {f.kind: f.remedy for f in alone} == dict.fromkeys(
        ("adaptive", "alone"), "attack=[decoder,rmle,decoder_avg]"
    )
    (divided,) = doubts({"autoinvert": facts(suite=True, settings=remedies.load("attack", "autoinvert"))},
                        **FLOORS, adaptive={"two_servers": ["collusion"]})  # fmt: skip
    assert (divided.kind, divided.remedy) == ("collusion", "attack=[autoinvert,colluding]")
    (passed_by,) = doubts(shipped, **FLOORS, adaptive={"label_smoothing": ["network"]})
    assert (passed_by.kind, passed_by.remedy) == ("network", "attack=[decoder,rmle,label_inversion]")
    for name in ("label_inversion", "gmi"):
        node, attack = remedies.options()[name]
        seen = {**shipped, name: facts(settings=node, adapts=attack.adapts)}
        assert doubts(seen, **FLOORS, adaptive={"label_smoothing": ["network"]}) == []
    (unasked,) = doubts(shipped, **FLOORS, adaptive={"arl": ["attribute"]})
    assert unasked.kind == "attribute" and not unasked.remedy and "attack.probe.attribute=" in OTHERWISE["attribute"]
    for attribute, flags in (("tint", []), ("y", [unasked])):
        asked = Probe(**{k: v for k, v in remedies.load("attack", "probe").items() if k != "_target_"}
                      | {"attribute": attribute})  # fmt: skip
        with_probe = {**shipped, "probe": facts(adapts=asked.adapts)}
        assert doubts(with_probe, **FLOORS, adaptive={"arl": ["attribute"]}) == flags
    probe = {"probe": Facts({}, settings=remedies.load("attack", "probe"))}
    assert remedies.another({"probe": probe["probe"].settings}) == "probe_clean"
    assert remedies.adapting({"probe": probe["probe"].settings}, "draws") == "probe_avg"


def adversary(*words: str) -> tuple[Config, dict[str, Split], dict[str, Split]]:
    """A config, its splits of 8000 training images and 2000 others, and those that its adversary knows."""
    cfg = config.compose(words)
    ids = {"train": torch.arange(8000), "test": torch.arange(8000, 10_000)}
    blank = {pool: Split(torch.zeros(len(own), 1, 2, 2, dtype=torch.uint8), own % 10, own) for pool, own in ids.items()}
    splits = build(cfg["protocol"], "protocol")().split(blank)
    known = build(cfg["knowledge"], "knowledge")()
    if isinstance(known, OtherSet):
        known.source = SimpleNamespace(read=lambda root: blank)  # type: ignore[assignment]
    return cfg, splits, known.apply(splits, Spec((1, 2, 2), 10), Path())


AUX = "protocol.limit.aux"


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["+setting=demo"], f"{AUX}=4000 protocol.slices.train=[train,0,0.464] protocol.slices.val=[train,0.464,0.5] "
                            "protocol.slices.aux=[train,0.5,1]"),
        (["+setting=demo", "protocol.limit.train=300", "protocol.limit.val=9"], None),  # how many there are is not told
        ([f"{AUX}=500"], f"{AUX}=1000"),
        ([f"{AUX}=9000"], None),  # beyond the slice, which then is what binds
        ([], "protocol.slices.train=[train,0,0.371] protocol.slices.val=[train,0.371,0.4] "
             "protocol.slices.aux=[train,0.4,1]"),
        (["knowledge.size=100"], "knowledge.size=200"),
        (["knowledge.size=2000", f"{AUX}=2200"], None),
        (["knowledge.size=3000"], None),  # cuts nothing yet
        (["knowledge=disjoint", "knowledge.size=700"], None),
        (["knowledge=disjoint", f"{AUX}=500"], f"{AUX}=1000"),
        (["knowledge=other_set", "knowledge.size=100"], "knowledge.size=200"),
        (["knowledge=other_set"], "knowledge.size=4800"),
        (["knowledge=none"], None),
        (["knowledge=train_set", "knowledge.size=100"], "knowledge.size=200"),
        (["knowledge=train_set"], ""),  # all that there are
        (["protocol.slices.aux=[train,0.7,0.75]", "protocol.slices.victims=[train,0.1,0.2]",
          "protocol.slices.train=[train,0.2,0.6]", "protocol.slices.val=[train,0.6,0.7]"], ""),  # victims stay
        (["protocol=cem_official"], ""),  # shared, on purpose
        (["protocol.slices.train=[train,0,0.3]", "protocol.slices.val=[train,0.3,0.4]",
          "protocol.slices.aux=[train,0.4,1]"], ""),
    ],
)  # fmt: skip
def test_the_override_that_promises_twice_the_aux_gives_it(words: list[str], remedy: str | None) -> None:
    cfg, splits, known = adversary(*words)
    knowledge = build(cfg["knowledge"], "knowledge")()
    shared = {"sizes": {name: len(split) for name, split in known.items()}, "moved": 0}
    found = remedies.more_aux(cfg["protocol"], knowledge, shared)
    assert remedy in (found, None) and (found or remedy == "")
    if found:
        _, after, more = adversary(*words, *found.split())
        assert 2 * len(known["aux"]) * 0.98 <= len(more["aux"]) <= 2.1 * len(known["aux"])
        assert torch.equal(after["victims"].ids, splits["victims"].ids) and len(after["train"])


def test_images_that_were_given_as_they_are_cannot_be_more() -> None:
    assert remedies.more_aux({"overlap": False, "limit": {}}, None, {"sizes": {"aux": 9}}) == ""


def test_what_chose_on_too_few_images_is_given_as_many_times_as_it_needs() -> None:
    (flag,) = doubts({"all": facts(suite=True, chosen_on=2)}, **FLOORS, spare=lambda times: f"{AUX}={times * 20}")
    assert (flag.kind, flag.remedy) == ("thin", f"{AUX}=200")


def plain(kind: str, **words: Any) -> Flag:
    """A flag of a kind whose check knows no override, with any number for other words."""
    said = {name: 0.5 for _, name, _, _ in Formatter().parse(KINDS[kind].says) if name}
    return raised(kind, **{"subject": "any", **said, **words})


ALWAYS = {"smoke": [], "overlap": [], "allowed": [], "declared": [], "pull": ["defense=[cem,noise]"]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_flag_has_an_override_that_composes_or_says_what_would_clear_it(kind: str) -> None:
    if kind in ALWAYS:
        flag = plain(kind, subject="cem", remedy="boost=authors")
        assert check(config.compose([*ALWAYS[kind], *flag.remedy.split()])) == []
        assert flag.way == f"to clear this: {flag.remedy}"
    else:
        flag = plain(kind)
        assert flag.remedy == "" and flag.way == f"no override clears this: {OTHERWISE[kind]}"


def test_flags_of_before_and_of_versions_to_come_say_what_would_clear_them() -> None:
    assert Flag("unheard of", "", "a doubt").way == f"no override clears this: {OTHERWISE['old']}"


@pytest.mark.parametrize("name", sorted(remedies.options()))
def test_what_makes_an_attack_longer_is_a_setting_that_it_has(name: str) -> None:
    word = remedies.longer(name, remedies.load("attack", name))
    longer = config.compose([f"attack=[{name}]", *word.split()])["attack"][name]
    assert (longer != remedies.load("attack", name)) == bool(word)
    assert not word or build(longer, f"attack.{name}")()


@pytest.mark.parametrize("name", ["decoder_avg", "gan_decoder_cem", "label_inversion_avg", "reid_recon"])
def test_shipped_attacks_are_read_as_hydra_reads_them(name: str) -> None:
    assert remedies.load("attack", name) == config.compose([f"attack=[{name}]"])["attack"][name]


def test_rows_of_before_have_lines_for_flags() -> None:
    flag = doubts({"decoder": BLACK}, **FLOORS)[0]
    found = flags_of({"flags": ["splits overlap: a and b (3 images)", flag.record()]})
    assert [f.kind for f in found] == ["old", "alone"] and found[1] == flag
    assert (found[0].text, found[0].remedy) == ("splits overlap: a and b (3 images)", "")


def test_a_bound_that_was_averaged_is_beaten_by_more_than_its_error() -> None:
    bounds = {"library_mmse": 0.0205, "library_mmse_error": 0.0001}
    assert [flag.kind for flag in doubts(FINE, **FLOORS, bounds=bounds)] == ["bound"]
    assert doubts(FINE, **FLOORS, bounds={**bounds, "library_mmse_error": 0.001}) == []
    few = {"decoder": BLACK, "rmle": dataclasses.replace(WHITE, error=0.001)}  # its own mean is of few victims
    assert doubts(few, **FLOORS, bounds=bounds) == []
