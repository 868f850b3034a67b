"""From a node with a `_target_` to a call of it: every key held against the signature. Imports no torch."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from splitpriv import plugins
from splitpriv.config import MISSING, nearest
from splitpriv.types import UserError

TRUSTED = ("splitpriv.", "torch.optim.")
TOLD = ("torch", "splitpriv", "builtins", *sys.stdlib_module_names)  # no plug-ins
KINDS = {  # what the parts of each group are, by name: this file imports none of them
    "dataset": "splitpriv.data.base.Dataset",
    "backbone": "splitpriv.nets.split.Backbone",
    "task": "splitpriv.tasks.base.Task",
    "defense": "splitpriv.defenses.base.Defense",
    "monitor": "splitpriv.defenses.adversarial.Monitor",
    "attack": "splitpriv.attacks.base.Attack",
    "optim": "splitpriv.run.recipe.Recipe",
    "protocol": "splitpriv.data.protocol.Protocol",
    "knowledge": "splitpriv.data.knowledge.Knowledge",
    "measure": "splitpriv.measure.measure.Measure",
    "runtime": "splitpriv.run.runtime.Runtime",
    "track": "splitpriv.track.base.Tracker",
    "tabular": "splitpriv.studies.base.Study",
    "leaks": "splitpriv.studies.base.Study",
}


def nodes(tree: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every outermost node with a `_target_`, with its dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            if "_target_" in value:
                yield f"{where}{key}", value
            else:
                yield from nodes(value, f"{where}{key}.")


def locate(target: str, where: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names; raise UserError for anything outside splitpriv, torch.optim and
    the plug-ins that the run names.
    """
    trusted = (*TRUSTED, *(f"{plugin.name}." for plugin in plugins.active()))
    if not str(target).startswith(trusted):
        top = str(target).partition(".")[0]
        raise UserError(
            f"{where}._target_: {target!r} is refused; targets start with {' or '.join(trusted)}"
            + (
                f", or with a plug-in that is named: plugins=[{top}], SPLITPRIV_PLUGINS={top}"
                if top.isidentifier() and top not in TOLD
                else ""
            )
        )
    module, _, name = target.rpartition(".")
    if any(part.startswith("_") for part in target.split(".")):  # importing __main__ would run it
        raise UserError(f"{where}._target_: {target!r} is refused; name a public class or function")
    try:
        own = plugins.of(target)
        member = plugins.member(target, where) if own else getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}._target_: cannot import {target!r} ({error}); correct the dotted path") from error
    if not callable(member) or not f"{getattr(member, '__module__', '')}.".startswith(
        trusted
    ):  # what a module merely imports
        raise UserError(f"{where}._target_: {target!r} is refused; name a class or function defined there")
    return member


def strength(node: Mapping[str, Any], where: str) -> Mapping[str, str]:
    """The setting that says how strong the defence of a node is, with the interval that a search looks in; empty where
    it does not say. A class whose setting or interval hangs on others tells it by a function of the node."""
    told = getattr(locate(node["_target_"], where), "strength", {})
    return told(node) if callable(told) else told


def build(node: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """The target of `node` with its keys bound: call it with what the engine supplies.

    Nested nodes that have a `_target_` are bound in the same way. Raise UserError with every problem of the node.
    """
    problems: list[str] = []
    bound = bind(node, where, problems)
    if problems:
        raise UserError(*problems)
    return bound


def bind(node: Mapping[str, Any], where: str, problems: list[str], kind: Any = None) -> functools.partial[Any]:
    """The same, with what is wrong added to `problems` instead of raised; `kind`: what a nested target has to make."""
    try:
        group, _, name = where.partition(".")
        if "_target_" not in node:
            raise UserError(
                f"{where}: has settings but is not listed; add {name} to {group}=[...] or drop them: ~{where}"
            )
        target = locate(str(node["_target_"]), where)
        wanted = kind or KINDS.get(group)
        if wanted is None:
            raise UserError(f"{where}: takes no _target_; remove it")
        if not _makes(target, wanted):
            called = wanted.rpartition(".")[2] if isinstance(wanted, str) else getattr(wanted, "__name__", str(wanted))
            raise UserError(f"{where}._target_: {node['_target_']} makes no {called}, which is what {where} is")
    except UserError as error:
        problems += error.problems
        return functools.partial(dict)
    expected = settings(target)
    given = {str(k): v for k, v in node.items() if k != "_target_"}
    for key in sorted(set(given) - set(expected)):
        by_place = key in inspect.signature(target).parameters
        problems.append(
            f"{where}.{key}: {target.__name__} takes it by position; write a * before the settings in its signature"
            if by_place and not str(target.__module__).startswith(TRUSTED)
            else f"{where}.{key}: {target.__name__} has no such setting; {nearest(key, sorted(expected))}"
        )
    given = {**getattr(target, "added", {}), **given}  # a node of before goes on meaning what it meant
    for key, parameter in expected.items():
        if key not in given and parameter.default is parameter.empty:
            problems.append(f"{where}.{key}: is missing; {target.__name__} needs it")
    values: dict[str, Any] = {}
    for key in set(given) & set(expected):
        if given[key] == MISSING:
            problems.append(f"{where}.{key}: has no value; add {where}.{key}=... to the command")
        elif isinstance(given[key], Mapping) and "_target_" in given[key]:
            made = _made_by(target, key)
            if made is None:
                problems.append(f"{where}.{key}: is a plain value, and takes no _target_")
            else:
                values[key] = bind(given[key], f"{where}.{key}", problems, made)
        else:
            values[key] = _valid(given[key], target, key, f"{where}.{key}", problems)
    return functools.partial(target, **values)


def _makes(target: Callable[..., Any], kind: Any) -> bool:
    """Whether a class is of this kind, or a function returns such; a kind is a class or the name of one."""
    made: Any = target
    if not isinstance(target, type):
        told = getattr(target, "__annotations__", {}).get("return")
        told = told.removesuffix(" | None") if isinstance(told, str) else told
        made = vars(sys.modules[target.__module__]).get(told.split(".")[0]) if isinstance(told, str) else told
        for name in told.split(".")[1:] if isinstance(told, str) else ():
            made = getattr(made, name, None)
    if not isinstance(made, type):
        return False
    if isinstance(kind, str):
        return kind in {name for c in made.__mro__ for name in (c.__name__, f"{c.__module__}.{c.__qualname__}")}
    if getattr(kind, "_is_protocol", False):
        return all(hasattr(made, name) for name in vars(kind) if not name.startswith("_"))
    return not isinstance(kind, type) or issubclass(made, kind)


def _made_by(target: Callable[..., Any], key: str) -> Any:
    """What a nested target at this key has to make, by its annotation `Callable[..., X]`; None: it is a plain value."""
    try:
        annotation = _annotation(target, key)
    except NameError:  # X is imported for its type alone
        told = re.search(r"Callable\[.*,\s*(?:\w+\.)*(\w+)\]", str(settings(target)[key].annotation))
        return told[1] if told else None
    for option in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(option) is Callable:
            return typing.get_args(option)[1]
    return None


def _annotation(target: Callable[..., Any], key: str) -> Any:
    annotation = settings(target)[key].annotation
    if isinstance(annotation, str):
        maker = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]  # perhaps inherited
        annotation = eval(annotation, {**vars(typing), **vars(sys.modules[maker.__module__])})
    return annotation


def follows(target: Callable[..., Any]) -> bool:
    """Whether a target is written for us: its settings are keyword-only, and their annotations the schema."""
    return not target.__module__.startswith("torch.")


@functools.cache
def settings(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a target that belong in YAML: keyword-only ones of ours, all but the first of torch.optim's."""
    parameters = list(inspect.signature(target).parameters.values())
    ours = follows(target)
    return {p.name: p for i, p in enumerate(parameters) if (p.kind is p.KEYWORD_ONLY if ours else i > 0)}


def _is_annotated(target: Callable[..., Any], key: str) -> bool:
    return settings(target)[key].annotation is not inspect.Parameter.empty


@functools.cache
def _validator(target: Callable[..., Any], key: str) -> Any:
    """What checks a value of this setting: its annotation, else that its default is a number; None: nothing does."""
    from pydantic import ConfigDict, TypeAdapter

    parameter = settings(target)[key]
    if parameter.annotation is parameter.empty:
        return TypeAdapter(float) if type(parameter.default) in (int, float) else None
    if follows(target):
        return TypeAdapter(_annotation(target, key))
    try:
        return TypeAdapter(_annotation(target, key), config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # torch writes its annotations for readers
        return None


def _valid(value: Any, target: Callable[..., Any], key: str, where: str, problems: list[str]) -> Any:
    """`value` in the type that the signature asks for; a violation of type or range becomes a problem."""
    from pydantic import ValidationError

    validator = _validator(target, key)
    if validator is None:
        return value
    try:
        if isinstance(value, list):  # as JSON, in which a list is a tuple, too, and true is still no number
            checked = validator.validate_json(json.dumps(value), strict=True)
        else:
            checked = validator.validate_python(value, strict=not isinstance(value, dict))
        checked = list(checked) if isinstance(checked, Iterator) else checked  # an Iterable is checked while it is read
        return checked if follows(target) and _is_annotated(target, key) else value
    except ValidationError as error:
        first = error.errors()[0]
        inner = "".join(f".{part}" for part in first["loc"] if isinstance(part, str) and part in str(value))
        told = f"{first['msg'][0].lower()}{first['msg'][1:]}, got {value!r}"
        problems.append(f"{where}{inner}: {told}{_respelled(f'{where}{inner}', value)}")
        return value


def _respelled(where: str, value: Any) -> str:
    """How to write a value that is right but for its quotes or its brackets; empty if there is no telling."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return f"; write null: {where}=null" if value.lower() in ("none", "nil") else ""
        return f"; without quotes: {where}={value}"
    if isinstance(value, list) and value and all(isinstance(v, int | float | str) for v in value):
        return f"; a sweep reads {where}={','.join(map(str, value))}, with -m"
    return ""
