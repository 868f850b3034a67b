"""A digest of what decides the answers of somebody's code: its values and weights, and the code that it runs.

Code of one's own is followed wherever it leads: closures, globals by name, modules, functions within. Of a library's
the code that is met counts and its version, of torch's the name.
"""

from __future__ import annotations

import dis
import hashlib
import importlib
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from types import (
    CellType,
    CodeType,
    EllipsisType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    NoneType,
    NotImplementedType,
)
from typing import Any

import torch
from torch import Tensor, nn

from splitpriv.store.keys import OURS

PLAIN = (NoneType, bool, int, float, complex, str, bytes, EllipsisType, NotImplementedType, range, torch.dtype,
         torch.device, torch.layout, torch.memory_format)  # fmt: skip
SLOTS = (GetSetDescriptorType, MemberDescriptorType)  # of a class, which Python adds
METHODS = (FunctionType, classmethod, staticmethod, property)
MOST = 1_000_000  # values; an object that makes others whenever it is looked at has no end


class UntoldError(Exception):
    """Holds something whose content nobody can tell, such as a handle of a library in C."""


def digest_of(value: Any) -> str:
    """SHA-256 of a value, of all that it holds and of all code that it can reach by name; raise UntoldError."""
    digest, met, todo = hashlib.sha256(), dict[int, tuple[int, Any]](), [value]
    while todo:
        value = todo.pop()
        parts: list[Any] = []
        if type(value) in PLAIN:
            words = repr(value).encode()
        elif id(value) in met:
            words = b"again %d" % met[id(value)][0]
        elif len(met) == MOST:
            raise UntoldError("more values than can be told")
        else:
            met[id(value)] = len(met), value  # held, so that nothing else takes its number
            words, parts = _told(value)
            todo += reversed(parts)
        digest.update(f"{type(value).__qualname__} {len(words)} {len(parts)} ".encode() + words)
    return digest.hexdigest()


def _told(value: Any) -> tuple[bytes, list[Any]]:
    """What a value says at once, and what it is made of."""
    kind = type(value)
    if isinstance(value, Tensor):
        return _numbers(value), []
    if kind in (list, tuple):
        return b"", list(value)
    if kind in (set, frozenset):
        return b"", sorted(value, key=repr)
    if kind is dict:
        return b"", [part for item in value.items() for part in item]
    if kind is FunctionType:
        return _function(value)
    if kind is CodeType:
        return f"{value.co_code.hex()} {value.co_names}".encode(), list(value.co_consts)
    if kind is CellType:
        try:
            return b"", [value.cell_contents]
        except ValueError:
            return b"empty", []
    if kind in (MethodType, classmethod, staticmethod):
        return b"", [value.__func__, getattr(value, "__self__", None)]
    if kind is property:
        return b"", [value.fget]
    if isinstance(value, ModuleType):
        known = _library(value.__name__)
        return _named(value.__name__), [] if known else [{k: v for k, v in vars(value).items() if k[:2] != "__"}]
    return _class(value) if isinstance(value, type) else _object(value)


def _numbers(tensor: Tensor) -> bytes:
    try:
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return f"{tensor.dtype} {tuple(tensor.shape)} ".encode() + hashlib.sha256(raw.numpy().tobytes()).digest()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, quantised, without numbers
        raise UntoldError(f"a tensor of {tensor.layout}, {tensor.dtype}, {tensor.device}") from error


def _function(function: FunctionType) -> tuple[bytes, list[Any]]:
    code, place = function.__code__, function.__module__ or ""
    held = [function.__defaults__, function.__kwdefaults__, function.__closure__, vars(function)]
    if _library(place, code.co_filename):
        return _named(place, function.__qualname__), held if place.startswith(OURS) else [code, *held]
    return b"", [code, *held, *_reached(function)]


def _codes(code: CodeType) -> list[CodeType]:
    """A function's code and that of all functions within it."""
    return [code, *(part for c in code.co_consts if isinstance(c, CodeType) for part in _codes(c))]


def _reached(function: FunctionType) -> list[Any]:
    """What a function finds by its names: among its globals, in modules of one's own there, in what it imports."""
    codes = _codes(function.__code__)
    names = sorted({name for code in codes for name in code.co_names})
    spaces = {"": function.__globals__, **{m.__name__: vars(m) for code in codes for m in _imports(code, function)}}
    reached: list[Any] = []
    for place in (todo := list(spaces)):
        for name in names:
            value = spaces[place].get(name)
            if isinstance(value, ModuleType) and not _library(value.__name__):
                if value.__name__ not in spaces:
                    todo.append(value.__name__)
                    spaces[value.__name__] = vars(value)
            elif value is not None:
                reached += [f"{place}.{name}", value]
    return reached


def _imports(code: CodeType, function: FunctionType) -> Iterator[ModuleType]:
    """Modules of one's own that code imports while it runs."""
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for level, _, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname != "IMPORT_NAME" or (not level.argval and _library(step.argval)):
            continue
        try:
            name = resolve_name("." * level.argval + step.argval, function.__globals__.get("__package__"))
            importlib.import_module(name)
        except ImportError:  # as it will be when it runs
            continue
        except (Exception, SystemExit) as error:  # code of the user's
            raise UntoldError(f"an import of {step.argval} that fails") from error
        parts = name.split(".")
        yield from (sys.modules[".".join(parts[:n])] for n in range(1, len(parts) + 1))


def _class(kind: type) -> tuple[bytes, list[Any]]:
    if kind.__module__.startswith(OURS) or _standard(kind.__module__):
        return _named(kind.__module__, kind.__qualname__), [kind.__bases__]  # torch derives some from one's own
    held = {k: v for k, v in vars(kind).items() if k != "_abc_impl" and not isinstance(v, SLOTS)
            and (k[:2] != "__" or isinstance(v, METHODS))}  # fmt: skip
    if _library(kind.__module__):
        held = {k: v for k, v in held.items() if isinstance(v, METHODS)}
    return _named(kind.__module__, kind.__qualname__), [kind.__bases__, held]


def _object(value: Any) -> tuple[bytes, list[Any]]:
    """An object as it is pickled: what makes it, of what, and its state; a module as it is, for some refuse."""
    if isinstance(value, nn.Module) and type(value).__reduce__ is object.__reduce__:
        held = {k: list(v.values()) if "hooks" in k and isinstance(v, dict) else v for k, v in vars(value).items()}
        return b"", [type(value), held]  # hooks without their numbers, which count those of the process
    try:
        made = value.__reduce_ex__(2)
    except Exception as error:  # whatever cannot be pickled says it in its own way
        raise UntoldError(f"a {type(value).__module__}.{type(value).__qualname__}") from error
    if isinstance(made, str):
        return made.encode(), [getattr(value, "__wrapped__", None)]
    maker, args, *rest = made
    state, *pairs = (*rest, None, None, None)[:3]
    return b"", [maker, args, state, *(list(part) for part in pairs if part is not None)]


def _named(place: str | None, name: str = "") -> bytes:
    top = (place or "").partition(".")[0]
    version = "" if top == "torch" else getattr(sys.modules.get(top), "__version__", "")
    return f"{place}.{name} {version}".encode()


def _standard(place: str) -> bool:
    return place.partition(".")[0] in sys.stdlib_module_names


def _library(place: str, file: str | None = None) -> bool:
    """Whether a module is nobody's own: Python's, torch's, this package's, or installed."""
    if f"{place}.".startswith(OURS) or _standard(place):
        return True
    file = file or getattr(sys.modules.get(place), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))
