"""Where one tensor alone crosses the graph of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from splitpriv.nets.graph import Graph, countable
from splitpriv.types import Shape

PASSING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # what changes no release


@dataclass(frozen=True)
class Cut:
    """A module behind which one tensor crosses.

    `name`: the outermost module whose output it is; `others`: further names of the same place. `shape` of the release,
    without the batch; `parameters` and `macs` (multiply-accumulates for one image) of the edge, of `total` in all;
    `release_bytes` of the release, as it is; `block`: whether that module has parts.
    """

    name: str
    others: tuple[str, ...]
    shape: Shape
    parameters: int
    macs: float
    total: float
    release_bytes: int
    block: bool

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return (f"{self.name} ({size}, {self.parameters:,} parameters, {self.macs / 1e6:,.2f} M MACs, "
                f"{self.release_bytes:,} bytes)")  # fmt: skip


def useful(traced: Graph) -> list[fx.Node]:
    """The nodes on some way from the image to the result, in order, without those that are about its size alone."""
    aside = {node for node in traced.graph.nodes if follows(node, traced)} if traced.values else _numbers(traced.graph)
    made = {traced.image}
    for node in traced.graph.nodes:
        if node not in aside and any(source in made for source in node.all_input_nodes):
            made.add(node)
    needed: set[fx.Node] = set()
    for node in reversed(traced.graph.nodes):
        if node is traced.result or any(user in needed for user in node.users):
            needed.add(node)
    return [node for node in traced.graph.nodes if node in made and node in needed]


def follows(node: fx.Node, traced: Graph) -> bool:
    """Whether any tensor of the batch tells a number as well: how many images there are, their type and device."""
    if node.op == "call_method" and node.target == "size":
        return isinstance(traced.values.get(node), int)
    if node.target is torch.ops.aten.sym_size.int:
        return True
    return node.target is getattr and node.args[1] in ("dtype", "device")


def _numbers(graph: fx.Graph) -> set[fx.Node]:
    """What is about sizes and types, as far as the calls alone tell."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        asks = node.op == "call_method" and node.target in ("size", "dim", "ndimension", "numel")
        asks |= node.target is getattr and node.args[1] in ("shape", "ndim", "dtype", "device")
        inputs = node.all_input_nodes
        if asks or (inputs and node.op != "output" and all(source in found for source in inputs)):
            found.add(node)
    return found


def crossings(traced: Graph) -> dict[fx.Node, list[fx.Node]]:
    """For every useful node, what else crosses behind it: nothing where it alone does."""
    way = useful(traced)
    place = {node: i for i, node in enumerate(way)}
    reach = {node: max((place[u] for u in node.users if u in place), default=-1) for node in way}
    beside: dict[fx.Node, list[fx.Node]] = {}
    open_: list[fx.Node] = []
    for i, node in enumerate(way):
        open_ = [other for other in open_ if reach[other] > i]
        beside[node] = list(open_)
        open_.append(node)
    return beside


def on_way(traced: Graph) -> set[str]:
    """The modules that every way from the image to the result leads through, by what is called there alone."""
    way = useful(traced)
    place = {node: i for i, node in enumerate(way)}
    reach, found = -1, set()
    for i, node in enumerate(way):
        if reach <= i and node.op == "call_module":
            found.add(str(node.target))
        reach = max(reach, *(place[user] for user in node.users if user in place), -1)
    return found


def cuts(traced: Graph, net: nn.Module) -> dict[fx.Node, Cut]:
    """Every cut at a module, in the order of the graph; the image itself and the result are none.

    Weights that both sides would need belong to neither, so there is no cut between their uses. An Identity or a
    dropout is another name of the cut before it.
    """
    found: dict[fx.Node, Cut] = {}
    before: set[fx.Node] = set()
    owners = {node: _owned(node, net) for node in traced.graph.nodes}
    total = sum(traced.macs.values())
    for node, beside in crossings(traced).items():
        names, value = traced.outputs.get(node), traced.values.get(node)
        if beside or not names or not isinstance(value, Tensor) or not _is_release(value, traced):
            continue
        if all(user is traced.result for user in node.users):
            continue
        before |= between(traced.image, node, traced)
        edge = {id(p): p for n in before for p in owners[n]}
        if edge.keys() & {id(p) for n in between(node, traced.result, traced) for p in owners[n]}:
            continue
        if found and isinstance(net.get_submodule(names[0]), PASSING):
            last = next(reversed(found))
            found[last] = replace(found[last], others=(*found[last].others, *names))
            continue
        shape, macs = tuple(value.shape[1:]), sum(traced.macs.get(n, 0.0) for n in before)
        weights = sum(p.numel() for p in edge.values() if isinstance(p, nn.Parameter))
        block = any(True for _ in net.get_submodule(names[0]).children())
        found[node] = Cut(
            names[0], tuple(names[1:]), shape, weights, macs, total, prod(shape) * value.element_size(), block
        )
    return found


def node_of(traced: Graph, net: nn.Module, name: str) -> fx.Node | None:
    """Where the cut called `name` is: of several calls of one module the one that can be cut."""
    return next((n for n, cut in cuts(traced, net).items() if name in (cut.name, *cut.others)), None)


def _is_release(value: Tensor, traced: Graph) -> bool:
    """Whether a value is a feature of every image of the batch, in floating point."""
    return value.dim() > 1 and value.is_floating_point() and len(value) == len(traced.values[traced.image])


def between(start: fx.Node, end: fx.Node, traced: Graph) -> set[fx.Node]:
    """What makes `end` of `start`, itself not among it, constants included."""
    seen, todo = {end}, [end]
    while todo:
        node = todo.pop()
        for source in node.all_input_nodes if not follows(node, traced) else ():
            if source not in seen and source is not start:
                seen.add(source)
                todo.append(source)
    return seen


def _owned(node: fx.Node, net: nn.Module) -> list[Tensor]:
    """The weights and statistics that a node uses."""
    if node.op == "call_module":
        module = net.get_submodule(str(node.target))
        return [*module.parameters(), *module.buffers()]
    if node.op == "get_attr":
        held = attribute(net, str(node.target))
        return [held] if isinstance(held, nn.Parameter) else []
    return []


def attribute(net: nn.Module, name: str) -> Any:
    """What lies at a dotted name."""
    held: Any = net
    for part in name.split("."):
        held = getattr(held, part)
    return held


def stages(backbone: nn.Sequential, image: Shape) -> list[Cut]:
    """The cuts of a backbone of named stages, behind each but the last; on the meta device."""
    z, weights, macs, found = torch.empty(2, *image, device="meta"), 0, 0.0, []
    with torch.no_grad(), torch.device("meta"), countable():
        for name, stage in backbone.eval().named_children():
            with FlopCounterMode(display=False) as counter:
                z = stage(z)
            weights, macs = weights + sum(p.numel() for p in stage.parameters()), macs + counter.get_total_flops() / 4
            shape = tuple(z.shape[1:])
            found.append(Cut(name, (), shape, weights, macs, 0.0, prod(shape) * z.element_size(), True))
    return [replace(cut, total=macs) for cut in found[:-1]]
