"""From overrides to a checked config: compose, bind every target to its signature, check. Imports no torch."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from splitpriv.types import UserError, Whole

Config = dict[str, Any]

CONF = next(p for p in (Path(__file__).parent / "conf", Path(__file__).parents[1] / "conf") if p.is_dir())
MISSING = "???"  # OmegaConf's mark of a value that the user must give
TRUSTED = ("splitpriv.", "torch.optim.")
SINGLE = ("dataset", "backbone", "task", "optim", "protocol", "knowledge", "measure", "runtime")  # one target each
LISTS = ("defense", "attack", "track")  # groups of named targets
SEEDS = ("seed", "attack_seed")
SPLIT = ("at", "bottleneck")


# ---- compose -------------------------------------------------------------------------------------------------------


def compose(overrides: Sequence[str]) -> Config:
    """The resolved config of one run, with `choices` (group -> option) inside; raise UserError with all problems."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return _compose(overrides)
    except (HydraException, OmegaConfBaseException, ValueError):  # ValueError: a group set to null
        pass
    # Something is wrong: add the overrides one by one, groups before the keys inside them, and explain each refusal.
    good: list[str] = []
    problems: list[str] = []
    for override in sorted(overrides, key=lambda o: "." in o.split("=")[0]):
        try:
            _compose([*good, override])
            good.append(override)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            problems.append(_explain(override, error, good))
    raise UserError(*problems, *check(_compose(good)))


def _compose(overrides: Sequence[str]) -> Config:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name="splitpriv"):
        composed = hydra.compose("config", list(overrides), return_hydra_config=True)
    return resolve(composed, composed.hydra.runtime.choices)


def resolve(composed: Any, choices: Mapping[str, Any]) -> Config:
    """Plain dictionaries from what Hydra composed; paths become absolute, so that workers agree on them."""
    from omegaconf import OmegaConf

    plain = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
    cfg: Config = OmegaConf.to_container(plain, resolve=True)  # type: ignore[assignment]
    for name in (*LISTS, "monitor"):
        cfg.setdefault(name, {})  # an empty list of options leaves no trace
    cfg["paths"] = {name: _absolute(path, f"paths.{name}") for name, path in (cfg.get("paths") or {}).items()}
    cfg["choices"] = {k: str(v) for k, v in choices.items() if not k.startswith("hydra/") and "@" not in k}
    return cfg


def _absolute(path: Any, where: str) -> str:
    if path is None:
        raise UserError(f"{where}: has no value; give a folder, or leave it out")
    return str(Path(str(path)).expanduser().absolute())


def _explain(override: str, error: Exception, good: Sequence[str]) -> str:
    """One line for an override that Hydra refused: the key, what is wrong, and the nearest name."""
    key, _, value = override.lstrip("+~").partition("=")
    group = CONF / key.split("@")[0]
    if group.is_dir():
        options = sorted(p.stem for p in group.glob("*.yaml"))
        unknown = [v for v in value.strip("[]").replace("'", "").split(",") if v.strip() and v.strip() not in options]
        if unknown:
            return f"{key}: no option {', '.join(map(repr, unknown))}; {nearest(unknown[0], options)}"
        return f"{key}: {str(error).strip().splitlines()[0]}"
    known = [k for k in flatten(_compose(good)) if not k.startswith("choices.")]
    groups = [p.name for p in CONF.iterdir() if p.is_dir()]
    if "=" not in override:
        return f"{override}: an override reads key=value; {nearest(key, known + groups)}"
    if key not in known and not override.startswith("+"):
        return f"{key}: no such key here; {nearest(key, known + groups)}"
    return f"{key}: {str(error).strip().splitlines()[0]}"


def nearest(name: str, names: Sequence[str]) -> str:
    """What to suggest beside a wrong name: near ones, else all if they are few."""
    close = difflib.get_close_matches(name, list(dict.fromkeys(names)), n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(sorted(names))}" if len(names) <= 40 else "see conf/ for what exists"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


# ---- build ---------------------------------------------------------------------------------------------------------


def locate(target: str, where: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names; raise UserError for anything outside splitpriv and torch.optim."""
    if not str(target).startswith(TRUSTED):
        raise UserError(f"{where}._target_: {target!r} is refused; targets start with {' or '.join(TRUSTED)}")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{where}._target_: cannot import {target!r} ({error}); correct the dotted path") from error
    if not callable(found) or not str(found.__module__).startswith(TRUSTED):  # what a module of ours merely imports
        raise UserError(f"{where}._target_: {target!r} is refused; name a class or function defined there")
    return found


def build(node: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """The target of `node` with its keys bound: call it with what the engine supplies.

    Nested nodes that have a `_target_` are bound in the same way. Raise UserError with every problem of the node.
    """
    problems: list[str] = []
    bound = _bind(node, where, problems)
    if problems:
        raise UserError(*problems)
    return bound


def _bind(node: Mapping[str, Any], where: str, problems: list[str]) -> functools.partial[Any]:
    try:
        if "_target_" not in node:
            group, _, name = where.partition(".")
            raise UserError(
                f"{where}: has settings but is not listed; add {name} to {group}=[...] or drop them: ~{where}"
            )
        target = locate(str(node["_target_"]), where)
    except UserError as error:
        problems += error.problems
        return functools.partial(dict)
    expected = settings(target)
    given = {k: v for k, v in node.items() if k != "_target_"}
    for key in sorted(set(given) - set(expected)):
        problems.append(f"{where}.{key}: {target.__name__} has no such setting; {nearest(key, sorted(expected))}")
    for key, parameter in expected.items():
        if key not in given and parameter.default is parameter.empty:
            problems.append(f"{where}.{key}: is missing; {target.__name__} needs it")
    values: dict[str, Any] = {}
    for key in set(given) & set(expected):
        if given[key] == MISSING:
            problems.append(f"{where}.{key}: has no value; add {where}.{key}=... to the command")
        elif isinstance(given[key], Mapping) and "_target_" in given[key]:
            values[key] = _bind(given[key], f"{where}.{key}", problems)
        else:
            values[key] = _valid(given[key], expected[key], target, f"{where}.{key}", problems)
    return functools.partial(target, **values)


def settings(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a target that belong in YAML: keyword-only ones of ours, all but the first of torch.optim's."""
    parameters = list(inspect.signature(target).parameters.values())
    ours = target.__module__.startswith("splitpriv.")
    return {p.name: p for i, p in enumerate(parameters) if (p.kind is p.KEYWORD_ONLY if ours else i > 0)}


def _valid(
    value: Any, parameter: inspect.Parameter, target: Callable[..., Any], where: str, problems: list[str]
) -> Any:
    """`value` in the type that the signature asks for; a violation of type or range becomes a problem."""
    from pydantic import TypeAdapter, ValidationError

    annotation = parameter.annotation
    if annotation is parameter.empty or not target.__module__.startswith("splitpriv."):
        return value
    if isinstance(annotation, str):
        maker = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]  # perhaps inherited
        annotation = eval(annotation, {**vars(typing), **vars(sys.modules[maker.__module__])})
    try:
        strict = not isinstance(value, list | dict)  # a list is the only way to write a tuple in YAML
        return TypeAdapter(annotation).validate_python(value, strict=strict)
    except ValidationError as error:
        first = error.errors()[0]
        inner = "".join(f".{part}" for part in first["loc"] if isinstance(part, str) and part in str(value))
        problems.append(f"{where}{inner}: {first['msg'][0].lower()}{first['msg'][1:]}, got {value!r}")
        return value


# ---- check ---------------------------------------------------------------------------------------------------------


def targets(tree: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every outermost node with a `_target_`, with its dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            if "_target_" in value:
                yield f"{where}{key}", value
            else:
                yield from targets(value, f"{where}{key}.")


def _shape(cfg: Config) -> list[str]:
    """What is missing from a config, or too much, outside its targets."""
    from pydantic import TypeAdapter, ValidationError

    known = {*SINGLE, *LISTS, *SEEDS, "split", "monitor", "paths", "choices"}
    problems = [f"{key}: no such key here; {nearest(key, sorted(known))}" for key in sorted(set(cfg) - known)]
    problems += [f"{key}: is missing; do not remove it" for key in sorted(known - set(cfg))]
    for name in SINGLE:
        if name in cfg and not (isinstance(cfg[name], Mapping) and "_target_" in cfg[name]):
            problems.append(f"{name}: has no _target_; choose one of its options, as in {name}=NAME")
    for group in LISTS:
        for name, node in (cfg.get(group) or {}).items():
            if not isinstance(node, Mapping) or "_target_" not in node:
                problems.append(f"{group}.{name}: {name} is not listed; write {group}=[{name}] before its settings")
    split = cfg.get("split", {})
    if set(split) != set(SPLIT):
        extra = ", ".join(f"split.{key}" for key in sorted(set(split) ^ set(SPLIT)))
        problems.append(f"{extra}: unknown or missing; a split has {' and '.join(SPLIT)}")
    elif not isinstance(split["bottleneck"], Mapping | None):
        problems.append(
            f"split.bottleneck: is {split['bottleneck']!r}; give channels, kernel, stride and activation, or null"
        )
    for name in SEEDS:
        try:
            TypeAdapter(Whole).validate_python(cfg.get(name, 0), strict=True)
        except ValidationError:
            problems.append(f"{name}: should be a whole number of at least 0, got {cfg[name]!r}")
    return problems


def check(cfg: Config) -> list[str]:
    """All problems of a config that can be known before data is touched: signatures, types, ranges, cross rules."""
    problems = _shape(cfg)
    misshapen = bool(problems)
    for where, node in targets(cfg):
        _bind(node, where, problems)
    if not misshapen:
        from splitpriv.run.plan import assemble

        try:
            assemble(cfg)
        except UserError as error:
            problems += error.problems
    return list(dict.fromkeys(problems))
