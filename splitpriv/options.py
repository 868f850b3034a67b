"""Options of conf/: the parts that a run is composed of, chosen by name. Imports no torch."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitpriv.overrides import key_of, value_of
from splitpriv.types import UserError

REPLACEABLE = ("defense", "attack")  # lists of parts that a command replaces as a whole


def require_distinct(conf: Path, word: str) -> None:
    """Raise UserError where a list of options names one twice, or two that bring the same part."""
    group = key_of(word)
    if group not in REPLACEABLE:
        return
    names = [(name, option) for option in listed(value_of(word)) for name in called(conf, group, option)]
    for i, (name, option) in enumerate(names):
        earlier = [other for same, other in names[:i] if same == name]
        if earlier and earlier[0] == option:
            raise UserError(
                f"{group}: {option} is listed twice, and one would be left out; list it once, or give the second a "
                f"name and all its settings: '+{group}.{option}2={{_target_: ...}}'"
            )
        if earlier:
            raise UserError(f"{group}: {earlier[0]} and {option} both bring {name}; list one of them")


def listed(value: str) -> list[str]:
    """The options of a list as typed."""
    return [option for part in value.strip("[]").split(",") if (option := part.strip(" '\""))]


def called(conf: Path, group: str, option: str) -> tuple[str, ...]:
    """The names under which an option puts its settings: an attack's own, a defence's top keys."""
    return (option,) if group == "attack" else tuple(dict.fromkeys(_called(conf / group, option)))


@functools.cache
def _called(folder: Path, option: str) -> tuple[str, ...]:
    import yaml

    path = folder / f"{option}.yaml"
    settings = (yaml.safe_load(path.read_text()) if path.is_file() else None) or {}
    inherited = [d for d in settings.get("defaults", []) if isinstance(d, str) and d != "_self_"]
    return (*[key for key in settings if key != "defaults"], *[n for o in inherited for n in _called(folder, o)])


@functools.lru_cache(maxsize=512)
def compose(conf: Path, chosen: tuple[str, ...]) -> tuple[Any, Mapping[str, Any], tuple[str, ...]]:
    """What Hydra composes of the options alone, `choices`, and the words that it was told; the dear part of composing.

    Settings that a `setting` has for an attack or a defence which the command replaces go with it.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import ConfigCompositionException
    from omegaconf import OmegaConf, open_dict

    told, extra = list(chosen), []
    while True:
        GlobalHydra.instance().clear()
        try:
            with hydra.initialize_config_dir(str(conf), version_base="1.3", job_name="splitpriv"):
                composed = hydra.compose("config", told, return_hydra_config=True)
            break
        except ConfigCompositionException as error:  # a setting chooses an option inside a part that is replaced
            lost = re.search(r"In 'setting/.*Could not override '\w+@(defense|attack)\.(\w+)", str(error))
            wanted = [i for i, word in enumerate(told) if lost and key_of(word) == lost[1]]
            if not lost or not wanted or lost.groups() in extra or not (conf / lost[1] / f"{lost[2]}.yaml").is_file():
                raise
            extra.append(lost.groups())
            options = [*listed(value_of(told[wanted[0]])), lost[2]]
            told[wanted[0]] = f"{lost[1]}=[{','.join(options)}]"
    tree = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    OmegaConf.set_struct(tree, True)
    for group in {key_of(word) for word in chosen} & {*REPLACEABLE}:
        for name in [str(n) for n in tree.get(group) or {}]:
            node = tree[group][name]
            if (group, name) in extra or (OmegaConf.is_dict(node) and "_target_" not in node):
                with open_dict(tree):
                    del tree[group][name]
    return tree, dict(composed.hydra.runtime.choices), tuple(told)
