"""Keys: whatever can change a number changes the key, and nothing else does."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from pydoc import locate
from typing import Any

import pytest
import yaml
from small import MONITOR, changed, tiny

from splitpriv import config, overrides, resolved, targets
from splitpriv.attacks.suite import autoinvert
from splitpriv.config import flatten
from splitpriv.defenses.noise import Noise
from splitpriv.run.parts import assemble
from splitpriv.run.plan import Plan, make_plan
from splitpriv.run.prepare import check
from splitpriv.store.keys import fingerprint, listed
from splitpriv.types import Phase, UserError

# Never in a key, but for the precision; a suite, which alone heeds `queries`, says it again among its own settings.
FREE = ("objective", "plugins", "paths.", "choices.", "runtime.", "track", "protocol.queries")
OVERRIDES = (
    "defense=[cem,adversarial,noise]", "decoder@defense.adversarial.net=conv", "attack=[decoder,rmle]", *MONITOR,
    "split=bottleneck", "split.at=1",
)  # fmt: skip


def keys(cfg: config.Config, phases: tuple[Phase, ...] | None = None) -> Plan:
    parts = assemble(cfg)
    return make_plan(cfg, dataclasses.replace(parts, phases=phases) if phases else parts)


def other(value: Any) -> Any:
    """Some other value; no type is kept, since a key does not ask."""
    return [*value, "more"] if isinstance(value, list) else f"{value}, otherwise"


LEAVES = [k for k in flatten(config.compose(list(OVERRIDES))) if not k.startswith(FREE)] + ["runtime.precision"]


@pytest.fixture(scope="module")
def base() -> tuple[config.Config, Any, Plan]:
    cfg = config.compose(list(OVERRIDES))
    parts = assemble(cfg)
    return cfg, parts, make_plan(cfg, parts)


@pytest.mark.parametrize("key", LEAVES)
def test_every_setting_changes_the_row_key(key: str, base: tuple[config.Config, Any, Plan]) -> None:
    cfg, parts, plan = base
    target = "splitpriv.defenses.dropout.Dropout"  # a key looks up the version of whatever is named
    altered = changed(cfg, key, target if key.endswith("_target_") else other(flatten(cfg)[key]))
    if key == "protocol.attacked":
        parts = copy.copy(parts)
        parts.protocol = copy.copy(parts.protocol)
        parts.protocol.attacked = 5
    assert make_plan(altered, parts).row != plan.row


def test_the_walk_meets_every_group() -> None:
    assert {key.split(".")[0] for key in LEAVES} == {
        "dataset", "backbone", "split", "task", "defense", "monitor", "attack", "optim", "protocol", "knowledge",
        "measure", "runtime", "seed", "attack_seed",
    }  # fmt: skip
    assert "attack.decoder.net.blocks" in LEAVES
    assert "optim.schedule.T_max" in LEAVES


def test_one_override_changes_one_key_in_the_command(base: tuple[config.Config, Any, Plan]) -> None:
    other_key = keys(config.compose([*OVERRIDES, "defense.noise.sigma=0.026"])).row
    assert len({base[2].row, other_key, keys(config.compose([*OVERRIDES, "runtime.precision=bf16"])).row}) == 3
    assert keys(config.compose([*OVERRIDES, "defense.noise.sigma=0.025"])).row == base[2].row


def test_where_and_how_fast_it_runs_is_not_in_the_key(base: tuple[config.Config, Any, Plan]) -> None:
    moved = config.compose([
        *OVERRIDES, "paths.outputs=/elsewhere", "paths.data=/there", "runtime.threads=7", "runtime.device=cpu",
        "runtime.channels_last=false", "runtime.compile=true",
    ])  # fmt: skip
    assert keys(moved) == base[2]


def test_one_and_one_point_zero_are_one_number() -> None:
    assert fingerprint(a=1, b=[2, {"c": 3.0}]) == fingerprint(b=[2.0, {"c": 3}], a=1.0)
    assert fingerprint(a=True) != fingerprint(a=1)
    assert fingerprint(a="1") != fingerprint(a=1)


def test_a_setting_added_later_leaves_old_keys_alone() -> None:
    node = dict(config.compose(["attack=[rmle]"])["attack"]["rmle"])
    without = {k: v for k, v in node.items() if k != "match"}
    assert node["match"] == "mean"
    assert fingerprint(a={**node, "match": "draw"}) == fingerprint(a=without) != fingerprint(a=node)
    cfg = tiny("defense=[noise]", "defense.noise.sigma=1")
    assert keys(cfg) == keys(changed(cfg, "defense.noise.sigma", 1.0))


def test_the_order_of_the_chain_is_in_the_key() -> None:
    a, b = tiny("defense=[noise,dropout]"), tiny("defense=[dropout,noise]")
    assert list(a["defense"]) == ["noise", "dropout"]
    assert list(b["defense"]) == ["dropout", "noise"]
    assert keys(a).fits != keys(b).fits
    assert listed(a["defense"]) == listed(b["defense"])[::-1]


def test_a_new_version_of_a_class_is_a_new_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with_noise, without = tiny("defense=[noise]"), tiny()
    before = keys(with_noise).fits, keys(without).fits
    monkeypatch.setattr(Noise, "version", 2)
    assert keys(with_noise).fits != before[0]
    assert keys(without).fits == before[1]


def test_a_new_version_of_a_suite_s_tier_is_a_new_key_for_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(name: str) -> str:
        return fingerprint(attack=config.compose([f"attack=[{name}]"])["attack"][name])

    before = of("autoinvert"), of("autoinvert_plus")
    plus = dataclasses.replace(autoinvert.TIERS["plus"], version=9)
    monkeypatch.setattr(autoinvert, "TIERS", {**autoinvert.TIERS, "plus": plus})
    assert of("autoinvert") == before[0] and of("autoinvert_plus") != before[1]
    assert autoinvert.AutoInvert(tier="plus", knowledge="white", queries=1).suite == "autoinvert-9 plus"


def test_a_new_version_of_a_data_set_is_a_new_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(tiny())
    monkeypatch.setattr("splitpriv.data.gaussian.Gaussian.version", 99)
    assert keys(tiny()).start != before.start


def test_idle_phases_are_shared_by_all_chains_and_by_the_undefended_run() -> None:
    phases = (Phase("fit", idle=True), Phase("tune"))
    noise, dropout = keys(tiny("defense=[noise]"), phases), keys(tiny("defense=[dropout]"), phases)
    assert noise.fits[0] == dropout.fits[0] == keys(tiny()).fits[0]
    assert noise.fits[1] != dropout.fits[1]
    assert keys(tiny("defense=[noise]"), (Phase("fit"), Phase("tune"))).fits[0] != noise.fits[0]


def test_later_phases_hash_the_earlier_ones() -> None:
    phases = (Phase("fit", idle=True), Phase("tune"))
    longer = (Phase("fit", epochs=7, idle=True), Phase("tune"))
    assert keys(tiny("defense=[noise]"), phases).fits[1] != keys(tiny("defense=[noise]"), longer).fits[1]


def test_the_ceiling_is_the_undefended_run() -> None:
    assert keys(tiny("defense=[noise]")).ceiling == keys(tiny()).row == keys(tiny()).ceiling


def test_watching_changes_no_seed() -> None:
    watched, alone = keys(tiny(*MONITOR)), keys(tiny())
    assert watched.seeds == alone.seeds == alone.fits
    assert watched.fits != alone.fits


def test_start_is_shared_by_chains_so_that_comparisons_are_paired() -> None:
    assert keys(tiny("defense=[noise]")).start == keys(tiny()).start != keys(tiny("seed=1")).start


def test_nested_targets_arrive_as_factories() -> None:
    attack = targets.build(tiny()["attack"]["decoder"], "attack.decoder")()
    assert attack.net((4, 4, 4), (1, 8, 8)) is not attack.net((4, 4, 4), (1, 8, 8))


@pytest.mark.parametrize(
    "target", ["os.system", "splitpriv.commands.cli.sys", "builtins.eval", "splitprivate.x", "torch.load", 5]
)
def test_foreign_targets_are_refused(target: Any) -> None:
    with pytest.raises(UserError, match=r"defense\.noise\._target_: .*refused"):
        targets.build({"_target_": target}, "defense.noise")


def test_a_misplaced_package_line_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(config.CONF, conf)
    path = conf / "attack" / "rmle.yaml"
    first, second, rest = path.read_text().split("\n", 2)
    path.write_text("\n".join((second, first, rest)))
    monkeypatch.setattr(config, "CONF", conf)
    [problem] = [p for p in check(config.compose(["attack=[rmle]"])) if p.startswith("attack: ")]
    assert (
        problem
        == "attack: an option has no name; the first line of rmle.yaml in conf/attack/ must be `# @package attack.NAME`"
    )


def test_what_takes_no_target_is_given_none() -> None:
    """A bottleneck is plain values; a class of ours at its place is refused like any other."""
    cfg = changed(tiny(), "split.bottleneck", {"_target_": "splitpriv.store.folder.Store"})
    assert any(p.startswith("split.bottleneck: takes no _target_") for p in check(cfg))


@pytest.mark.parametrize(
    "words",
    [
        ("defense=[noise]", "defense.noise.sigma=0.3", "seed=5", "dataset.flip=false"),
        ("attack=[autoinvert]", "protocol.queries=4", "protocol.limit.val=16"),  # to which the attack's queries point
        ("defense=[patrol_cem]", "optim.epochs=7"),  # so does pruning
        ("attack=[substitute_same]", "backbone=tiny", "backbone.width=8"),  # to which its stand-in points
    ],
)
def test_numbers_that_are_set_last_make_the_same_config(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points of a sweep that differ in a number alone are resolved once."""
    before = resolved._resolved.cache_info().misses
    made = [config.compose([*words, f"optim.batch={batch}"]) for batch in (8, 16)]
    assert [cfg["optim"]["batch"] for cfg in made] == [8, 16]
    assert resolved._resolved.cache_info().misses == before + 1
    monkeypatch.setattr(resolved, "_numbers", lambda *_: [])
    assert made[0] == config.compose([*words, "optim.batch=8"])


def _targets(node: Any) -> Iterator[str]:
    for value in node.values() if isinstance(node, dict) else ():
        yield from _targets(value)
    if isinstance(node, dict) and "_target_" in node:
        yield node["_target_"]


def test_a_choice_called_none_is_one_and_elsewhere_nothing_is_null() -> None:
    made = {name for path in config.CONF.rglob("*.yaml") for name in _targets(yaml.safe_load(path.read_text()))}
    found = set()
    for target in map(locate, made):
        made_by: Any = target.__init__ if isinstance(target, type) else target
        for name, hint in getattr(made_by, "__annotations__", {}).items():
            with suppress(NameError, TypeError):  # what only a type checker imports is no choice
                found |= {name} if "'none'" in str(eval(hint, made_by.__globals__)) else set()
    assert found | {"weights"} == {*overrides.CALLED_NONE}  # which a wrapper takes
    for word in ("split.bottleneck.activation=none", "backbone.weights=none", "defense.cloak.fill=none"):
        assert overrides.parse(word)[0] is not None
    assert "write attack.decoder.patience=null" in overrides.parse("attack.decoder.patience=none")[1]
    assert "write backbone.weights=null" in overrides.parse("backbone.weights=None")[1]
