"""Every setting of every defence: a value out of its range, or of another type, is refused by name."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import annotated_types as limits
import pytest
from shipped import NAMES, composed, links
from small import changed

from splitpriv import config, overrides, plugins, targets
from splitpriv.contract import yamls
from splitpriv.types import UserError


def wrong(annotation: Any) -> Iterator[Any]:
    """Values that a setting of this type must refuse: just outside each of its limits, and another type."""
    yield 0.5 if str in (annotation, *typing.get_args(annotation)) else "no such value"
    whole = False
    for part in (annotation, *typing.get_args(annotation)):
        whole |= part is int
        for limit in getattr(part, "__metadata__", ()):
            whole |= typing.get_args(part)[0] is int
            for bound in limit if isinstance(limit, limits.GroupedMetadata) else (limit,):
                match bound:
                    case limits.Ge(v):
                        yield v - (1 if whole else 0.1)
                    case limits.Gt(v) | limits.Lt(v):
                        yield v
                    case limits.Le(v):
                        yield v + (1 if whole else 0.1)
    if whole:
        yield 1.5
    if typing.get_origin(annotation) is Literal:
        yield 3


CLASSES = {node["_target_"]: (name, key) for name in NAMES for key, node in links()[name].items()}


@pytest.mark.parametrize(("name", "key"), CLASSES.values(), ids=[target.split(".")[-1] for target in CLASSES])
def test_a_setting_out_of_its_range_is_refused_by_name(name: str, key: str) -> None:
    node = links()[name][key]
    target = targets.locate(node["_target_"], key)
    hints = typing.get_type_hints(target.__init__, include_extras=True)
    for setting in targets.settings(target):
        for value in wrong(hints[setting]):
            with pytest.raises(UserError, match=rf"^defense\.{key}\.{setting}: .*got {value!r}$"):
                targets.build({**node, setting: value}, f"defense.{key}")


@pytest.mark.parametrize(("name", "key", "value", "said"), [
    ("noise", "noise.sigma", -0.1, "greater than or equal to 0"),
    ("laplace", "laplace.scale", -1, "greater than or equal to 0"),
    ("dropout", "dropout.rate", 1.0, "less than 1"),
    ("topk", "topk.keep", 0.0, "greater than 0"),
    ("topk", "topk.by", "size", "'value' or 'magnitude'"),
    ("quantize", "quantize.bits", 17, "less than or equal to 16"),
    ("ldp", "ldp.delta", 1.0, "less than 1"),
    ("ldp", "ldp.epsilon", 0.0, "greater than 0"),
    ("nopeek", "nopeek.weight", -1.0, "greater than or equal to 0"),
    ("ressfl", "ressfl.threshold", 1.1, "less than or equal to 1"),
    ("adversarial", "adversarial.steps", 0, "greater than or equal to 1"),
    ("adversarial", "adversarial.net.width", 0, "greater than or equal to 1"),
])  # fmt: skip
def test_the_refusal_says_the_range(name: str, key: str, value: Any, said: str) -> None:
    link = key.split(".")[0]
    node = changed(links()[name], key, value)[link]
    with pytest.raises(UserError, match=rf"^defense\.{key}: .*{said}"):
        targets.build(node, f"defense.{link}")


# ---- strengths to try ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_defence_has_a_grid_of_five_strengths(name: str) -> None:
    cfg = {**composed(), "defense": links()[name]}
    assert "grid" not in str(cfg["defense"])  # it enters no run, hence no key
    assert len(config.grid(name)) == (name != "none")
    yamls.strengthens(name, cfg)


@pytest.mark.parametrize("name", NAMES)
def test_its_grid_and_its_default_lie_where_tune_searches(name: str) -> None:
    grid = config.grid(name)
    searched = {}
    for key, node in links()[name].items():
        [(setting, interval)] = targets.strength(node, key).items()
        searched[f"defense.{key}.{setting}"] = node[setting], overrides.parse(f"x={interval}", sweep=True)[0].value()
    assert grid.keys() <= searched.keys()
    for key, (default, interval) in searched.items():
        tried, own = grid.get(key, []), [] if default is None else [default]
        assert all(interval.start <= value <= interval.end for value in [*tried, *own]), key
        assert not (tried and own) or min(tried) <= default <= max(tried), key


def test_an_option_inherits_the_grid_of_the_last_that_it_inherits_unless_it_has_its_own() -> None:
    assert config.grid("cem_compat") == config.grid("cem") != config.grid("cem_paper")
    assert [*config.grid("patrol")] == ["defense.adversarial.weight"]
    assert config.grid("patrol_cem") == config.grid("ressfl")


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("{sigma: [1, 2, 3, 4]}", "give five values"),
        ("{sigma: [1, 2, 4, 3, 5]}", "begin with the weakest"),
        ("{sigma: [1, 2, 3, 3, 5]}", "begin with the weakest"),
        ("{sigma: [-1, 2, 3, 4, 5]}", "greater than or equal to 0"),
        ("{sgima: [1, 2, 3, 4, 5]}", "no such setting; did you mean sigma"),
        ("{sigma: [1, 2, 3, 4, 5], _target_: [1, 2, 3, 4, 5]}", "a grid has one setting"),
        ("[1, 2, 3, 4, 5]", "grid: Noise has no such setting"),
    ],
)
def test_a_wrong_grid_is_told(grid: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "mine" / "conf" / "defense" / "louder.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(f"# Louder.\nlouder:\n  _target_: splitpriv.defenses.noise.Noise\n  sigma: 1.0\n  grid: {grid}\n")
    monkeypatch.setenv(plugins.find.VARIABLE, str(tmp_path / "mine"))
    plugins.use(plugins.named([]))
    with pytest.raises((AssertionError, UserError)) as error:
        yamls.matches_its_signature("defense", "louder")
    plugins.use([])
    assert said in str(error.value)
