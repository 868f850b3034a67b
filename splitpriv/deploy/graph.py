"""A half of a network as a graph that runtimes read: traced once, with only the values that it uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from splitpriv.types import Shape, UserError

aten = torch.ops.aten


def traced(module: nn.Module, shape: Shape, most: int | None, what: str) -> tuple[ExportedProgram, bool]:
    """The graph of `module` on (N, *shape), and whether N is free, from 1 to `most` (None: without end).

    Where a network fixes N, as one that ranks values of a whole batch does, it is that of one image, which is what a
    device sends. Raises UserError for what torch.export cannot trace; `what` names the half in its message.
    """
    tries: list[tuple[int, Any]] = [(1, None)]
    if most != 1:
        tries.insert(0, (2, ({0: Dim("batch", min=1, max=most)},)))
    for count, dynamic in tries:
        try:
            with torch.no_grad():
                program = torch.export.export(module, (torch.full((count, *shape), 0.5),), dynamic_shapes=dynamic)
        except Exception as error:  # of many kinds, by what a network does
            wrong = error
        else:
            return slim(program), dynamic is not None
    told = next((line for line in str(wrong).splitlines() if line.strip()), type(wrong).__name__)
    raise UserError(f"export: the {what} cannot be traced by torch.export ({told.strip()[:160]}); use another "
                    "defence or backbone, or write what it does without Python's decisions on values")  # fmt: skip


def slim(program: ExportedProgram) -> ExportedProgram:
    """The same without parameters and buffers that no operation reads.

    What only trains, such as an adversary's decoder or statistics of the features of training images, stays at home.
    """
    signature, graph = program.graph_signature, program.graph_module.graph
    places = [node for node in graph.nodes if node.op == "placeholder"]
    kept = []
    for spec, place in zip(signature.input_specs, places, strict=True):
        idle = spec.kind.name in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR") and not place.users
        if idle:
            graph.erase_node(place)
            program.state_dict.pop(spec.target, None)
            program.constants.pop(spec.target, None)
        else:
            kept.append(spec)
    signature.input_specs[:] = kept
    program.graph_module.recompile()
    return program


def elementary(program: ExportedProgram) -> ExportedProgram:
    """The same in core operations, with every draw from uniform or normal numbers: all that runtimes have."""
    table: dict[Any, Callable[..., Any]] = dict(torch.export.default_decompositions())
    table |= {aten.randn_like.default: _normal, aten.rand_like.default: _uniform, aten.exponential.default: _waiting}
    return program.run_decompositions(table)


def _normal(like: Tensor, **form: Any) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype)


def _uniform(like: Tensor, **form: Any) -> Tensor:
    return torch.rand(like.shape, dtype=like.dtype)


def _waiting(like: Tensor, rate: float = 1.0, generator: Any = None) -> Tensor:
    return -torch.log1p(-torch.rand(like.shape, dtype=like.dtype)) / rate  # 1 - u is never 0


def is_random(program: ExportedProgram) -> bool:
    """Whether any operation draws."""
    words = ("rand", "exponential", "bernoulli", "normal_", "poisson", "multinomial", "dropout")
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    return any(word in target for target in called for word in words)
