"""The two halves of a network behind one of its cuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from splitpriv.nets.cuts import between, node_of
from splitpriv.nets.graph import Graph
from splitpriv.nets.modes import contrary
from splitpriv.types import UserError


class Half(nn.Module):
    """One side of a cut: a part of a network's graph, with its modules under the names that they have in the network.

    Training and evaluation each have their graph, since a forward may ask which of them it is in.
    """

    def __init__(self, net: nn.Module, graphs: Mapping[bool, fx.Graph]) -> None:
        super().__init__()
        targets = {str(n.target) for g in graphs.values() for n in g.nodes if n.op in ("call_module", "get_attr")}
        for name in sorted(targets, key=lambda target: (target.count("."), target)):
            _hold(self, net, name)
        self.contrary = contrary(net)
        self.calls = {training: _compiled(graph) for training, graph in graphs.items()}
        self.train(net.training)

    def train(self, mode: bool = True) -> Half:
        """As `train` of the network, which may leave some of its parts as they are."""
        super().train(mode)
        for name, part in self.named_modules():
            part.training = mode != (name in self.contrary[mode])
        return self

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.calls[self.training](self, z)
        return out


def _hold(half: nn.Module, net: nn.Module, name: str) -> None:
    """Let `half` have what lies at `name` in `net`, in plain modules for those around it."""
    inside, theirs = half, net
    *path, last = name.split(".")
    for part in path:
        theirs = getattr(theirs, part)
        if not hasattr(inside, part):
            inside.add_module(part, nn.Module())
        inside = getattr(inside, part)
    if hasattr(inside, last):
        return
    held = getattr(theirs, last)
    if isinstance(held, Tensor) and not isinstance(held, nn.Parameter):
        inside.register_buffer(
            last, held, persistent=last in theirs._buffers and last not in theirs._non_persistent_buffers_set
        )
    else:
        setattr(inside, last, held)


def _compiled(graph: fx.Graph) -> Callable[[nn.Module, Tensor], Any]:
    graph.lint()
    code = graph.python_code("self")
    space = dict(code.globals)
    exec(compile(code.src, "<half of a network>", "exec"), space)
    forward: Callable[[nn.Module, Tensor], Any] = space["forward"]
    return forward


def part(traced: Graph, start: fx.Node, end: fx.Node) -> fx.Graph:
    """The graph that makes `end` of `start`, which becomes its one input; constants it makes itself."""
    graph = fx.Graph()
    given: dict[fx.Node, fx.Node] = {start: graph.placeholder("z")}
    if start is not traced.image:  # no in-place operation of the cloud may change a release
        given[start] = graph.call_method("clone", (given[start],))
    wanted = between(start, end, traced)
    for node in traced.graph.nodes:
        if node not in wanted or node is start:
            continue
        given[node] = graph.node_copy(
            node, lambda n: given.get(n, given[start])
        )  # lost: of what only its size is asked
    graph.output(given[end])
    return graph


def halves(net: nn.Module, name: str, ways: Mapping[bool, Graph]) -> tuple[Half, Half]:
    """Edge and cloud of a network cut behind the module `name`, which share its modules.

    `ways`: the graph in training and in evaluation. Raises LookupError where one of them has no such cut, UserError
    where a release would not be float32.
    """
    sides: tuple[dict[bool, fx.Graph], dict[bool, fx.Graph]] = ({}, {})
    for training, traced in ways.items():
        node = node_of(traced, net, name)
        if node is None:
            raise LookupError(name)
        if (kind := traced.values[node].dtype) != torch.float32:
            raise UserError(f"split.at: behind {name} the network computes in {kind}, and a release is torch.float32; "
                            "make it with .float(), and cast nothing in its forward")  # fmt: skip
        sides[0][training] = part(traced, traced.image, node)
        sides[1][training] = part(traced, node, logits(traced))
    return Half(net, sides[0]), Half(net, sides[1])


def logits(traced: Graph) -> fx.Node:
    """The result of a graph, which must be one tensor; raises LookupError."""
    result = traced.result.args[0]
    if isinstance(result, fx.Node) and isinstance(traced.values.get(result), Tensor):
        return result
    raise LookupError("the result is no tensor")
