"""From a node with a `_target_` to a call of it: every key held against the signature. Imports no torch."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from splitpriv.config import MISSING, nearest
from splitpriv.types import UserError

TRUSTED = ("splitpriv.", "torch.optim.")


def nodes(tree: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every outermost node with a `_target_`, with its dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            if "_target_" in value:
                yield f"{where}{key}", value
            else:
                yield from nodes(value, f"{where}{key}.")


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
    bound = bind(node, where, problems)
    if problems:
        raise UserError(*problems)
    return bound


def bind(node: Mapping[str, Any], where: str, problems: list[str]) -> functools.partial[Any]:
    """The same, with what is wrong added to `problems` instead of raised."""
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
            values[key] = bind(given[key], f"{where}.{key}", problems)
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
