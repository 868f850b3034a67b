"""Options of conf/: the parts that a run is composed of, chosen by name. Imports no torch."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitpriv import plugins
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
    return (option,) if group == "attack" else tuple(dict.fromkeys(_called(conf, group, option, ())))


def _called(conf: Path, group: str, option: str, above: tuple[str, ...]) -> tuple[str, ...]:
    """`above`: the options that inherit this one, perhaps in a circle."""
    settings = read(conf, group, option)
    inherited = [d for d in settings.get("defaults", []) if isinstance(d, str) and d not in ("_self_", option, *above)]
    return (*[key for key in settings if key != "defaults"],
            *[n for o in inherited for n in _called(conf, group, o, (option, *above))])  # fmt: skip


def names(conf: Path, group: str) -> list[str]:
    """The options of a group, ours and those of plug-ins."""
    return sorted(plugins.files(conf, group, plugins.folders()))


def file(conf: Path, group: str, option: str) -> Path | None:
    """The file of an option, ours or a plug-in's; None where there is none."""
    return plugins.file(conf, group, option, plugins.folders())


def read(conf: Path, group: str, option: str) -> dict[str, Any]:
    """What the file of an option says itself, `defaults` included; empty where there is none."""
    path = file(conf, group, option)
    settings: Any = plugins.read(path, path.stat().st_mtime_ns) if path else {}
    return dict(settings)


def search_path(conf: Path) -> Any:
    """Where Hydra looks for options: in `conf`, then in the plug-ins'."""
    from hydra._internal.utils import create_config_search_path

    path: Any = create_config_search_path(str(conf))
    for folder in plugins.folders():
        path.append("plugin", str(folder), anchor="main")
    return path


def compose(conf: Path, chosen: tuple[str, ...]) -> tuple[Any, Mapping[str, Any], tuple[str, ...]]:
    """What Hydra composes of the options alone, `choices`, and the words that it was told; the dear part of composing.

    Settings that a `setting` has for an attack or a defence which the command replaces go with it.
    """
    return _compose(conf, chosen, own())


def own() -> tuple[tuple[Path, int], ...]:
    """The files of plug-ins' options, and when each was written."""
    paths = [path for folder in plugins.folders() for path in sorted(folder.glob("*/*.yaml"))]
    return tuple((path, path.stat().st_mtime_ns) for path in paths)


@functools.lru_cache(maxsize=512)
def _compose(
    conf: Path, chosen: tuple[str, ...], own: tuple[tuple[Path, int], ...]
) -> tuple[Any, Mapping[str, Any], tuple[str, ...]]:
    import hydra
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import ConfigCompositionException
    from hydra.version import setbase
    from omegaconf import OmegaConf, open_dict

    told, extra = list(chosen), []
    while True:
        GlobalHydra.instance().clear()
        setbase("1.3")
        try:
            Hydra.create_main_hydra2("splitpriv", search_path(conf))
            composed = hydra.compose("config", told, return_hydra_config=True)
            break
        except ConfigCompositionException as error:  # a setting chooses an option inside a part that is replaced
            lost = re.search(r"In 'setting/.*Could not override '\w+@(defense|attack)\.(\w+)", str(error))
            wanted = [i for i, word in enumerate(told) if lost and key_of(word) == lost[1]]
            if not lost or not wanted or lost.groups() in extra or not file(conf, lost[1], lost[2]):
                raise
            extra.append(lost.groups())
            options = [*listed(value_of(told[wanted[0]])), lost[2]]
            told[wanted[0]] = f"{lost[1]}=[{','.join(options)}]"
        finally:
            GlobalHydra.instance().clear()
    tree = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    OmegaConf.set_struct(tree, True)
    for group in {key_of(word) for word in chosen} & {*REPLACEABLE}:
        for name in [str(n) for n in tree.get(group) or {}]:
            node = tree[group][name]
            if (group, name) in extra or (OmegaConf.is_dict(node) and "_target_" not in node):
                with open_dict(tree):
                    del tree[group][name]
    return tree, dict(composed.hydra.runtime.choices), tuple(told)
