"""From a module to its graph: by torch.fx around its modules, which stay whole, or else by torch.export."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from splitpriv.nets.graph import BATCHES, Graph, UntraceableError, evaluated, first_line, settle
from splitpriv.types import Shape, UserError

BLIND = (
    "backbone: its forward computes under torch.no_grad(), which a network that is cut does not keep; leave that out, "
    "and set requires_grad to False where the layers that shall not learn are made"
)

ONCE = (
    "backbone: its forward draws a random number that does not depend on the image, which a network that is cut would "
    "draw but once; draw as torch.rand_like does, or in a module of its own whose forward asks for it"
)


class _Tracer(fx.Tracer):
    """Goes into the modules `inside` alone; every other is one node, whatever happens in it."""

    def __init__(self, inside: Collection[str]) -> None:
        super().__init__(autowrap_modules=(math,))
        self.inside = inside
        self.seen: list[tuple[str, Any]] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.inside

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        out = super().call_module(m, forward, args, kwargs)
        self.seen.append((self.path_of_module(m), out))
        return out


class _Blind(TorchFunctionMode):
    """Notes the weights that something is computed from without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.met: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not torch.is_grad_enabled():
            self.met |= {id(a) for a in (*args, *(kwargs or {}).values()) if isinstance(a, nn.Parameter)}
        return func(*args, **(kwargs or {}))


class _Whole(nn.Module):
    """One image batch in, whatever other inputs the network's forward has by default."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


def require_sight(net: nn.Module, image: Shape) -> None:
    """Raise UserError where weights of a network on the meta device get no gradient because its forward forbids it.

    Such blocks are no part of a graph, so that a network that is cut would train these weights.
    """
    learning = [p for p in net.parameters() if p.requires_grad]
    try:
        with torch.enable_grad(), torch.device("meta"), _Blind() as blind:
            out = _Whole(net).train()(torch.empty(BATCHES[0], *image))
            felt = torch.autograd.grad(out.sum(), learning, allow_unused=True) if out.requires_grad else ()
    except Exception:  # what it is, tracing tells better
        return
    learnt = {id(p) for p, grad in zip(learning, felt, strict=False) if grad is not None}
    if any(id(p) in blind.met - learnt for p in learning):
        raise UserError(BLIND)


def by_fx(net: nn.Module, inside: Collection[str], image: Shape, training: bool = False, counts: bool = True) -> Graph:
    """The graph of a network on the meta device, in which the modules `inside` are followed and others are whole.

    `net` itself is followed always. Raises UntraceableError.
    """
    return evaluated(follow(net, inside, training), net, image, counts=counts)


def _drawn() -> tuple[Any, bytes]:
    """Where Python's generator and torch's on the CPU stand, also while a mode stands for tensors."""
    with _disable_current_modes():
        return random.getstate(), torch.get_rng_state().numpy().tobytes()


def follow(net: nn.Module, inside: Collection[str], training: bool = False) -> Graph:
    """The same without values, which cost time."""
    whole = _Whole(net).train(training)
    tracer = _Tracer({"net", *(f"net.{name}" for name in inside)})
    drawn = _drawn()
    try:
        graph = tracer.trace(whole)
    except Exception as error:  # whatever the forward of a stranger raises at a proxy
        raise UntraceableError(first_line(error)) from error
    if drawn != _drawn():
        raise UserError(ONCE)
    outputs: dict[fx.Node, list[str]] = {}
    calls: dict[str, int] = {}
    for name, out in tracer.seen:
        name = name.removeprefix("net").removeprefix(".")
        calls[name] = calls.get(name, 0) + 1
        if isinstance(out, fx.Proxy) and name:
            outputs.setdefault(out.node, []).insert(0, name)
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            node.target = node.target.removeprefix("net.")
    settle(graph)
    return Graph(graph, outputs, calls)


def by_export(net: nn.Module, image: Shape, training: bool = False) -> Graph:
    """The same down to single operations, by torch.export, which follows control flow that shapes decide.

    Raises UntraceableError.
    """
    whole = _Whole(net).train(training)
    batch = torch.export.Dim("batch", min=2)
    try:
        example = torch.empty(BATCHES[0], *image, device="meta")
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(whole, (example,), dynamic_shapes=({0: batch},), strict=False)
            module = program.module(check_guards=False)
    except Exception as error:
        raise UntraceableError(first_line(error)) from error
    graph = module.graph
    graph.set_codegen(fx.graph.CodeGen())
    scopes: dict[fx.Node, list[str]] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            node.target = str(node.target).removeprefix("net.")
        stack = node.meta.get("nn_module_stack") or {}
        scopes[node] = [path.removeprefix("net").removeprefix(".") for path, _ in stack.values() if path]
    _placed(graph)
    outputs: dict[fx.Node, list[str]] = {}
    for node, inside in scopes.items():
        last = [s for s in inside if s and not any(s in scopes.get(user, ()) for user in node.users)]
        if last and node.users:
            outputs[node] = last
    _plain_result(graph)
    settle(graph)
    traced = Graph(graph, outputs, {name: 1 for inside in scopes.values() for name in inside})
    return evaluated(traced, module, image, counts=True, prefix="net.")


def _placed(graph: fx.Graph) -> None:
    """What a forward makes anew, torch.export would make on the meta device: it belongs where the image is."""
    image = next(node for node in graph.nodes if node.op == "placeholder")
    made = [node for node in graph.nodes if node.kwargs.get("device") == torch.device("meta")]
    with graph.inserting_after(image):
        place = graph.call_function(getattr, (image, "device")) if made else image
    for node in made:
        node.kwargs = {**node.kwargs, "device": place}


def _plain_result(graph: fx.Graph) -> None:
    """torch.export returns a tuple of one."""
    result = next(reversed(graph.nodes))
    given = result.args[0]
    if isinstance(given, list | tuple) and len(given) == 1:
        result.args = (given[0],)


def trunk(net: nn.Module, on_way: Callable[[Graph], set[str]]) -> tuple[set[str], dict[str, str]]:
    """The modules to follow so that every cut shows, and those that torch.fx cannot follow, each with the reason.

    `on_way` names the modules of a graph that every way from the image to the result leads through: only within them
    can a single tensor cross. Raises UntraceableError where the network's own forward cannot be followed.
    """
    inside: set[str] = set()
    whole: dict[str, str] = {}
    kinds = {name: type(module) for name, module in net.named_modules()}
    while True:
        seen = on_way(follow(net, inside))
        new = {name for name in seen - inside - whole.keys() if _has_parts(net.get_submodule(name))}
        if not new:
            return inside, whole
        try:
            follow(net, inside | new)
        except UntraceableError:
            lost: dict[type, str] = {}
            for name in sorted(new):
                if kinds[name] not in lost:
                    try:
                        follow(net, inside | {name})
                    except UntraceableError as error:
                        lost[kinds[name]] = str(error)
            whole |= {name: lost[kinds[name]] for name in new if kinds[name] in lost}
            new = {name for name in new if kinds[name] not in lost}
        inside |= new


def _has_parts(module: nn.Module) -> bool:
    """Whether cuts may lie within a module: torch's own layers are taken as one."""
    ours = type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Sequential)
    return not ours and next(module.children(), None) is not None
