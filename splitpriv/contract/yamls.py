"""Every option: its YAML composes, begins with a line that says what it is, and says what the signature asks for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from splitpriv import config, options, targets
from splitpriv.contract.base import require
from splitpriv.types import UserError

WORDS = {"setting": "+setting={}", "tabular": "+tabular={}", "leaks": "+leaks={}"}


def words(group: str, option: str) -> list[str]:
    """The overrides that choose one option."""
    if group == "decoder":
        return ["attack=[decoder]", f"decoder@attack.decoder.net={option}"]
    if group in WORDS:
        return [WORDS[group].format(option)]
    return [f"{group}=[{option}]" if group in config.LISTS else f"{group}={option}"]


def matches_its_signature(group: str, option: str) -> None:
    """It composes, says in its first lines what it is, and names all settings of its class, which has no defaults."""
    path = options.file(config.CONF, group, option)
    require(path, f"there is no {group}={option}")
    assert path is not None
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
    require(lines and lines[0].startswith("# "), f"{path.name} begins with no comment that says what it is")
    if group != "table":
        cfg = config.compose(words(group, option))
        agrees(cfg)
        if group == "defense":
            strengthens(option, cfg)


def agrees(cfg: Mapping[str, Any]) -> None:
    """Every node of a config names exactly the settings of what it targets; a value that is missing is the user's."""
    problems: list[str] = []
    for where, node in targets.nodes(cfg):
        targets.bind(node, where, problems)
        target = targets.locate(node["_target_"], where)
        if not targets.follows(target):
            continue
        expected = targets.settings(target)
        missing = sorted(set(expected) - set(node))
        require(not missing, f"{where}: its YAML does not say {', '.join(missing)}")
        defaults = [name for name, p in expected.items() if p.default is not p.empty]
        require(not defaults, f"{where}: {target.__name__} has defaults for {', '.join(defaults)}, which no key tells; "
                              "leave them to the YAML")  # fmt: skip
        bare = [name for name, p in expected.items() if p.annotation is p.empty]
        require(not bare, f"{where}: {target.__name__} does not say what {', '.join(bare)} may be; annotate them")
    if wrong := [problem for problem in problems if "has no value" not in problem]:
        raise UserError(*wrong)


def strengthens(option: str, cfg: Mapping[str, Any]) -> None:
    """The grid of a defence, if it has one: five values of one setting, all in its range, that go one way."""
    told = config.grid(option)
    require(len(told) < 2, f"its grid varies {' and '.join(told)}; a grid has one setting")
    for key, values in told.items():
        _, name, setting = key.split(".")
        require(name in cfg["defense"], f"its grid is of {name}, which is no part of it")
        require(
            isinstance(values, list) and len(values) == 5, f"its grid has {values!r} for {setting}; give five values"
        )
        for value in values:
            agrees({"defense": {name: {**cfg["defense"][name], setting: value}}})
        steps = {a < b for a, b in itertools.pairwise(values) if a != b}
        ordered = len(steps) == 1 and len(set(values)) == 5
        require(ordered, f"its grid of {setting} is {values}; begin with the weakest, and go one way")
