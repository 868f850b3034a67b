"""From what Hydra composed to plain dictionaries, kept: points of a sweep set a number and share the rest."""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitpriv import options, overrides
from splitpriv.types import UserError

LISTS = ("defense", "attack", "track")  # groups of named targets
NUMBER = (int, float, bool)
POINTER = re.compile(r"\$\{([^{}]*)\}")


def config(conf: Path, chosen: tuple[str, ...], values: Sequence[Any]) -> dict[str, Any]:
    """The resolved config of some options, and of the values that a command sets, as Hydra read them."""
    numbers = _numbers(conf, chosen, values)
    around = options.own(), tuple(sorted(os.environ.items())), str(Path.cwd())
    cfg = copy.deepcopy(_resolved(conf, chosen, tuple(str(v.input_line) for v in values if v not in numbers), around))
    if all(_set(cfg, number.key_or_group.split("."), number.value()) for number in numbers):
        return cfg
    return copy.deepcopy(_resolved(conf, chosen, tuple(str(v.input_line) for v in values), around))


@functools.lru_cache(maxsize=64)
def _resolved(conf: Path, chosen: tuple[str, ...], values: tuple[str, ...], around: object) -> dict[str, Any]:
    """`around`: what else decides on it."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    tree, choices, _ = options.compose(conf, chosen)
    tree = copy.deepcopy(tree)
    if tree.get("plugins"):
        raise UserError("plugins: is read before any option is, so no setting names it; give it in the command")
    parsed: list[Any] = [overrides.parse(value)[0] for value in values]
    ConfigLoaderImpl._apply_overrides_to_config(parsed, tree)
    return _plain(tree, choices)


def _numbers(conf: Path, chosen: tuple[str, ...], values: Sequence[Any]) -> list[Any]:
    """Those of the values that are plain numbers, and of which nothing else is made."""
    if any("$" in str(value.input_line) for value in values):
        return []
    plain = [v for v in values if type(v.value()) in NUMBER and re.match(r"\w[\w.]*=", str(v.input_line))]
    others = ["paths", *_pointed(conf, chosen, options.own()), *(v.key_or_group for v in values if v not in plain)]
    return [v for v in plain if not any(_overlap(v.key_or_group, key) for key in others)]


def _overlap(a: str, b: str) -> bool:
    return f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.") or not b


@functools.lru_cache(maxsize=512)
def _pointed(conf: Path, chosen: tuple[str, ...], own: object) -> tuple[str, ...]:
    """The keys that others of a composed tree point to; all of them, "", where one points in a way of its own."""
    from omegaconf import OmegaConf

    text = OmegaConf.to_yaml(options.compose(conf, chosen)[0])
    keys = POINTER.findall(text)
    if len(keys) < text.count("${"):  # one within another
        return ("",)
    keys = [key for key in dict.fromkeys(keys) if not key.startswith("oc.env:")]
    return tuple(keys) if all(re.fullmatch(r"\w[\w.]*", key) for key in keys) else ("",)


def _set(cfg: dict[str, Any], path: Sequence[str], value: Any) -> bool:
    """Put a number in the place of a single value; whether there is one."""
    node: Any = cfg
    for key in path[:-1]:
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, dict) or isinstance(node.get(path[-1], {}), dict | list):
        return False
    node[path[-1]] = value
    return True


def _plain(tree: Any, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Plain dictionaries from what was composed; paths become absolute, so that workers agree on them."""
    from omegaconf import OmegaConf

    cfg: dict[str, Any] = OmegaConf.to_container(tree, resolve=True)  # type: ignore[assignment]
    for name in (*LISTS, "monitor"):
        cfg.setdefault(name, {})  # an empty list of options leaves no trace
    for node in cfg["defense"].values() if isinstance(cfg["defense"], dict) else ():
        if isinstance(node, dict) and isinstance(node.get("grid"), Mapping):  # strengths to try, which no run has
            del node["grid"]
    paths = cfg.get("paths") or {}
    if not isinstance(paths, Mapping):
        raise UserError(f"paths: is {paths!r}; give paths.outputs and paths.data")
    cfg["paths"] = {name: _absolute(path, f"paths.{name}") for name, path in paths.items()}
    cfg["choices"] = {k: str(v) for k, v in choices.items() if not k.startswith("hydra/") and "@" not in k}
    return cfg


def _absolute(path: Any, where: str) -> str:
    variable = {"paths.outputs": "SPLITPRIV_OUTPUTS", "paths.data": "SPLITPRIV_DATA"}.get(where)
    if path is None:
        raise UserError(f"{where}: has no value; give a folder, or leave it out")
    if not str(path).strip() or "\0" in str(path):
        named = f", also by {variable}" if variable else ""
        raise UserError(f"{where}: is empty{named}; give a folder, or leave it out")
    if where == "paths.outputs" and "://" in str(path):  # an address
        return str(path).rstrip("/")
    try:
        return str(Path(str(path)).expanduser().absolute())
    except RuntimeError as error:  # ~somebody who does not exist
        raise UserError(f"{where}: {error}; give a folder without ~") from error
