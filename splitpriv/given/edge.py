"""A feature extractor that we did not train, opened: a module, a program of torch.export, or an ONNX file."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import secrets
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from splitpriv.defenses.parts.aside import aside
from splitpriv.given import onnx
from splitpriv.given.digest import UntoldError, digest_of
from splitpriv.store import say
from splitpriv.store.keys import source
from splitpriv.store.proof import sha256
from splitpriv.types import UserError, typed

Kind = Literal["module", "pt2", "onnx"]
KINDS = "model.pt2 (torch.export), model.onnx, or package:function, which returns an nn.Module"
WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pkl")  # files that hold weights and perhaps no network


@dataclass(frozen=True)
class Edge:
    """What leaves the device for an image, as somebody else computes it.

    `call`: images (N, C, H, W) -> its raw answer. `digest` changes with all that decides it. `image`: the (C, H, W)
    that it takes, None at what may be anything; `batch`: the only number of images that it takes, None for any up to
    `most`, None for as many as there are. `module` holds its parameters, where it shows them.
    """

    name: str
    kind: Kind
    digest: str
    call: Callable[[Tensor], Any]
    image: tuple[int | None, int | None, int | None] = (None, None, None)
    batch: int | None = None
    most: int | None = None
    module: nn.Module | None = None


def opened(what: str | Path | nn.Module, seed: int = 0) -> Edge:
    """Open an edge, a module as a copy; a function's random weights are drawn from `seed`.

    Raise UserError for what is none.

    A .pt2, and a function that is named, may run code of their own: naming them is the consent.
    """
    if isinstance(what, nn.Module):
        return _module(copy.deepcopy(what), type(what).__name__)
    text = str(what)
    path = typed(text, "--edge")
    if ":" in text and not path.exists():
        return _function(text, seed)
    ending = path.suffix.lower()
    if ending in WEIGHTS:
        raise UserError(f"--edge: {text} holds weights, and no network that can be run; give {KINDS}")
    if ending not in (".pt2", ".onnx"):
        raise UserError(f"--edge: {text} is of no kind that is known; give {KINDS}")
    if not path.is_file():
        raise UserError(f"--edge: there is no file {text}; correct the path")
    if ending == ".pt2":
        return _program(path)
    session = onnx.Session(path)
    return Edge(path.name, "onnx", session.digest, session, session.image, session.batch)


# ---- a program of torch.export -------------------------------------------------------------------------------------


def _program(path: Path) -> Edge:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.load(path)
            module = program.module()
        except Exception as error:  # whatever a damaged archive makes of its reader
            raise UserError(f"--edge: {path} is no program of torch.export ({_first(error)}); save one with "
                            "torch.export.save") from error  # fmt: skip
    names = program.graph_signature.user_inputs
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(names) != 1 or not isinstance(inputs[0], Tensor) or inputs[0].dim() != 4:
        told = ", ".join(_shape(value) for value in inputs)
        raise UserError(f"--edge: {path} takes {len(names)} inputs ({told}); export one that takes images (N, C, H, W)")
    if not inputs[0].is_floating_point():
        raise UserError(f"--edge: {path} takes {inputs[0].dtype}; export one that takes floats, images in [0, 1]")
    batch, *image = (size if isinstance(size, int) else None for size in inputs[0].shape)
    module.requires_grad_(False)
    most = _most(inputs[0].shape[0], program.range_constraints)
    return Edge(path.name, "pt2", sha256(path), module, tuple(image), batch, most, module)  # type: ignore[arg-type]


def _most(batch: Any, ranges: Mapping[Any, Any]) -> int | None:
    """The most images that a program was exported for, where that is a bounded size of its own."""
    upper = getattr(ranges.get(batch.node.expr), "upper", None) if isinstance(batch, torch.SymInt) else None
    return int(upper) if upper is not None and upper.is_finite else None


def _shape(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


# ---- a module, or a function that makes one ------------------------------------------------------------------------


def _function(text: str, seed: int) -> Edge:
    place, _, name = text.rpartition(":")
    function = getattr(_imported(place, text), name, None)
    if not callable(function):
        raise UserError(f"--edge: {text}: {place} has no function {name!r}; correct the name behind the colon")
    try:
        with aside(seed=seed):
            made = function()
    except Exception as error:  # code of the user's
        raise UserError(f"--edge: {text} failed when called without arguments ({_first(error)}); mend it") from error
    if not isinstance(made, nn.Module):
        raise UserError(
            f"--edge: {text} returned a {type(made).__name__}; return an nn.Module that maps images (N, C, H, W) to "
            "the one tensor that leaves the device"
        )
    return _module(made, name, source(function if hasattr(function, "__name__") else type(function)))


def _imported(place: str, text: str) -> ModuleType:
    """The module that somebody named: a file, or what Python finds, in the working folder first."""
    try:
        if not place.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))
            try:
                return importlib.import_module(place)
            finally:
                sys.path.remove(str(Path.cwd()))
        file = typed(place, "--edge").absolute()
        spec = importlib.util.spec_from_file_location(f"_given_{file.stem.replace('.', '_')}", file)
        assert spec is not None and spec.loader is not None
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # classes look for theirs there
        spec.loader.exec_module(module)
        return module
    except Exception as error:  # code of the user's
        raise UserError(f"--edge: {text}: {place} cannot be imported ({_first(error)}); correct it") from error


def _module(module: nn.Module, name: str, source: str = "") -> Edge:
    module.eval().requires_grad_(False)
    try:
        digest = digest_of([module, source])
    except UntoldError as error:
        say(f"--edge: {name} holds {error}, which no key can tell; its audit is made anew every time")
        digest = secrets.token_hex(32)
    return Edge(name, "module", digest, module, module=module)


def _first(error: BaseException) -> str:
    """What an error says, in a line."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}"[:200]
