"""A network as a graph of calls, in which every value is known: shapes, and what one image costs.

Values are found on the meta device. Numbers that follow from the size of the images alone are written into the graph,
so that what crosses a cut is tensors.
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from splitpriv.types import Shape

BATCHES = (3, 5)  # of which values are seen: what differs between them follows from the batch


class UntraceableError(Exception):
    """Neither torch.fx nor torch.export can follow this network; its text says why."""


@dataclass
class Graph:
    """`outputs`: node -> modules whose output it is, outer ones first; `calls`: how often each module is called;
    `values`: what each node gives for the larger of BATCHES; `macs`: multiply-accumulates of each for one image."""

    graph: fx.Graph
    outputs: dict[fx.Node, list[str]]
    calls: dict[str, int]
    values: dict[fx.Node, Any] = field(default_factory=dict)
    macs: dict[fx.Node, float] = field(default_factory=dict)

    @property
    def image(self) -> fx.Node:
        return next(node for node in self.graph.nodes if node.op == "placeholder")

    @property
    def result(self) -> fx.Node:
        return next(reversed(self.graph.nodes))


def skeleton(net: nn.Module) -> nn.Module:
    """The same network on the meta device, without copying a weight."""
    memo: dict[int, Any] = {}
    kept = [value for module in net.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    for tensor in (*net.parameters(), *net.buffers(), *kept):
        twin = tensor.detach().to("meta")
        memo[id(tensor)] = nn.Parameter(twin, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else twin
    return copy.deepcopy(net, memo)


def first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class _Valued(fx.Interpreter):
    """Runs a graph on the meta device and keeps what every node gives and costs."""

    def __init__(self, net: nn.Module, graph: fx.Graph, prefix: str) -> None:
        super().__init__(net, graph=graph, garbage_collect_values=False)
        self.prefix = prefix
        self.known: dict[fx.Node, Any] = {}
        self.spent: dict[fx.Node, float] = {}
        self.counting = False

    def fetch_attr(self, target: str) -> Any:
        return super().fetch_attr(self.prefix + target)

    def run_node(self, n: fx.Node) -> Any:
        if self.counting and n.op not in ("placeholder", "get_attr", "output"):
            with FlopCounterMode(display=False) as counter:
                out = super().run_node(n)
            self.spent[n] = counter.get_total_flops() / 2
        else:
            out = super().run_node(n)
        self.known[n] = out
        return out


@contextmanager
def countable() -> Iterator[None]:
    """Attention as matrix products: the counter of operations does not see into the fused kinds."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def evaluated(traced: Graph, net: nn.Module, image: Shape, *, counts: bool, prefix: str = "") -> Graph:
    """The same with values, and where it `counts` with costs; sizes as the numbers they are."""
    graph = traced.graph
    seen = []
    for batch in BATCHES:
        runner = _Valued(net, graph, prefix)
        runner.counting = counts and batch == BATCHES[1]
        try:
            with torch.no_grad(), countable(), torch.device("meta"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                runner.run(torch.empty(batch, *image, device="meta"))
        except Exception as error:
            raise UntraceableError(first_line(error)) from error
        seen.append(runner)
    few, many = (runner.known for runner in seen)
    traced.macs = {node: cost / BATCHES[1] for node, cost in seen[1].spent.items()}
    traced.values = many
    _write_sizes(traced, few)
    return traced


def settle(graph: fx.Graph) -> None:
    """Whoever reads a tensor after an in-place operation on it reads what that operation returned."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        changed = node.args[0] if node.args else None
        if isinstance(changed, fx.Node) and _in_place(node):
            changed.replace_all_uses_with(node, partial(_later, order, node))


def _later(order: Mapping[fx.Node, int], than: fx.Node, node: fx.Node) -> bool:
    return order[node] > order[than]


def _swapped(old: fx.Node, value: Any, node: fx.Node) -> Any:
    return value if node is old else node


def _in_place(node: fx.Node) -> bool:
    if node.kwargs.get("inplace") is True:
        return True
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")
    if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
        return bool(node.target._schema.is_mutable) and node.target._schema.name.endswith("_")
    if node.op == "call_function" and getattr(node.target, "__module__", "") == "_operator":
        return name in ("iadd", "isub", "imul", "itruediv", "iand", "ior", "ixor", "ipow")
    return node.op in ("call_method", "call_function") and name.endswith("_") and not name.endswith("__")


def _write_sizes(traced: Graph, few: dict[fx.Node, Any]) -> None:
    """Replace whole numbers, and tuples of them, by what they are: constants, or the batch times a constant."""
    graph, many = traced.graph, traced.values
    batch: fx.Node | None = None

    def written(a: Any, b: Any) -> Any:
        nonlocal batch
        if isinstance(a, list | tuple):
            return tuple(written(x, y) for x, y in zip(a, b, strict=True))
        if a == b:
            return a
        times = a // BATCHES[0]
        if (times * BATCHES[0], times * BATCHES[1]) != (a, b):
            raise ValueError
        if batch is None:
            with graph.inserting_after(traced.image):
                batch = graph.call_method("size", (traced.image, 0))
            many[batch], traced.macs[batch] = BATCHES[1], 0.0
        if times == 1:
            return batch
        with graph.inserting_after(batch):
            node = graph.call_function(operator.mul, (batch, times))
        many[node], traced.macs[node] = b, 0.0
        return node

    for node in list(graph.nodes):
        if node.op == "output" or not _sizes(few.get(node)) or not node.users:
            continue
        try:
            value = written(few[node], many[node])
        except ValueError:
            continue
        for user in list(node.users):
            swap = partial(_swapped, node, value)
            user.args, user.kwargs = fx.node.map_arg(user.args, swap), fx.node.map_arg(user.kwargs, swap)


def _sizes(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(_sizes(part) for part in value)
    return isinstance(value, int | float) and not isinstance(value, bool)
