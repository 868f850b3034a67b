"""Which channels of the edge are free to go, and their removal: torch-pruning's dependency graph over both halves."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from splitpriv.nets.modes import evaluating
from splitpriv.nets.split import SplitNet
from splitpriv.types import Shape, UserError


@dataclass(frozen=True)
class Channels:
    """The output channels of one convolution of the edge that no sum, grouping or other norm ties to others.

    `site`: the layer behind whose output a zero equals a removal, the convolution's BatchNorm or else itself.
    `readers`: the edge's layers that read them, each with its inputs per channel. `released`: they are channels of z.
    """

    conv: str
    site: str
    count: int
    readers: tuple[tuple[str, int], ...]
    released: bool


def require_library(where: str) -> None:
    """Raise UserError for the config key `where` if torch-pruning is not installed."""
    try:
        import torch_pruning  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{where}: needs the package torch-pruning, which is not installed; pip install 'splitpriv[prune]'"
        ) from error


def trace(net: SplitNet, image: Shape) -> Any:
    """torch-pruning's dependency graph of the whole network on images of shape `image`; leaves the network as it is."""
    import torch_pruning as tp

    stages = OrderedDict([*net.edge.named_children(), *net.cloud.named_children()])
    x = torch.full((2, *image), 0.5, device=next(net.parameters()).device, requires_grad=True)
    with evaluating(net), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tp.DependencyGraph().build_dependency(nn.Sequential(stages), x, verbose=False)


def free_channels(net: SplitNet, image: Shape) -> list[Channels]:
    """The convolutions of the edge whose output channels can go one by one, in the order of the edge."""
    import torch_pruning as tp

    graph = trace(net, image)
    names = {module: name for name, module in net.edge.named_modules()}
    free = []
    for conv, name in names.items():
        if not isinstance(conv, nn.Conv2d) or conv.groups > 1 or conv not in graph.module2node:
            continue
        group = graph.get_pruning_group(conv, tp.prune_conv_out_channels, list(range(conv.out_channels)))
        producers, readers, tied = [], [], False
        for dep, index in group:
            module = dep.target.module
            if not isinstance(module, nn.Module) or not list(module.parameters()):
                said = str(module).lower()  # of a sigmoid's, a silent channel is not silent
                tied |= isinstance(module, nn.Parameter) or any(word in said for word in ("sigmoid", "softmax"))
            elif graph.is_in_channel_pruning_fn(dep.handler) and not graph.is_out_channel_pruning_fn(dep.handler):
                readers.append((module, len(index) // conv.out_channels))
            else:
                producers.append(module)
        norms = [m for m in producers if isinstance(m, nn.BatchNorm2d) and m.affine and m in names]
        if tied or len(producers) != 1 + len(norms) or len(norms) > 1 or not readers:
            continue
        inside = tuple((names[m], times) for m, times in readers if m in names)
        site = names[norms[0]] if norms else name
        free.append(Channels(name, site, conv.out_channels, inside, len(inside) < len(readers)))
    return free


def branches(edge: nn.Module) -> dict[str, str]:
    """The blocks relu(branch(z) + z) of the edge, whose branch can go as a whole, each with its branch's last layer."""
    ends = {}
    for name, block in edge.named_modules():
        if isinstance(getattr(block, "shortcut", None), nn.Identity):
            ends[name] = f"{name}.norm2"
        elif getattr(block, "downsample", block) is None:  # torchvision's
            ends[name] = f"{name}.bn3" if hasattr(block, "bn3") else f"{name}.bn2"
    return ends


class Structures:
    """All channels and residual branches of an edge that can go, in one order: `sites` maps layer -> its places in it.

    `released`: channels of z count, too; `channels` False: none does, only whole branches.
    """

    def __init__(self, net: SplitNet, image: Shape, released: bool, channels: bool = True) -> None:
        self.layers = [c for c in free_channels(net, image) if released or not c.released] if channels else []
        self.blocks = branches(net.edge)
        self.starts = [sum(c.count for c in self.layers[:i]) for i in range(len(self.layers))]
        count = sum(c.count for c in self.layers)
        self.sites = {c.site: slice(a, a + c.count) for c, a in zip(self.layers, self.starts, strict=True)}
        self.sites |= {end: slice(i, i + 1) for i, end in enumerate(self.blocks.values(), count)}
        self.places = dict(enumerate(self.blocks, count))  # of the branches
        self.total = count + len(self.blocks)

    def named(self, chosen: Collection[int]) -> tuple[dict[str, list[int]], list[str]]:
        """Places as convolution -> channels, without those inside whole branches, and as these branches' blocks."""
        dropped = [self.places[i] for i in chosen if i in self.places]
        gone = {c.conv: [i - a for i in chosen if a <= i < a + c.count]
                for c, a in zip(self.layers, self.starts, strict=True)}  # fmt: skip
        return {k: v for k, v in gone.items() if v and not any(k.startswith(f"{block}.") for block in dropped)}, dropped

    def removable(self, sizes: Sequence[float]) -> list[int]:
        """All places but the largest of every layer, in rising order of `sizes`."""
        best = {max(range(a, a + c.count), key=sizes.__getitem__)
                for c, a in zip(self.layers, self.starts, strict=True)}  # fmt: skip
        return sorted(set(range(self.total)) - best, key=lambda i: (sizes[i], i))

    def predicted(self, net: SplitNet, chosen: Collection[int]) -> int:
        """How many parameters the edge will have without the `chosen`."""
        gone, dropped = self.named(chosen)
        outputs: dict[str, int] = {}
        inputs: dict[str, int] = {}
        for layer in self.layers:
            count = len(gone.get(layer.conv, ()))
            outputs |= {layer.conv: count, layer.site: count}
            for reader, times in layer.readers:
                inputs[reader] = inputs.get(reader, 0) + count * times
        total = 0
        for name, module in net.edge.named_modules():
            if any(name.startswith(f"{block}.") for block in dropped):
                continue
            for parameter in module.parameters(recurse=False):
                shape = list(parameter.shape)
                shape[0] -= outputs.get(name, 0)
                if len(shape) > 1:
                    shape[1] -= inputs.get(name, 0)
                total += prod(shape)
        return total

    def remove(self, net: SplitNet, image: Shape, chosen: Collection[int]) -> None:
        """Take the `chosen` out of the edge, and what read them out of both halves."""
        gone, dropped = self.named(chosen)
        for block in dropped:
            net.edge.set_submodule(block, nn.ReLU())
        remove(net, image, gone)


@torch.no_grad()
def fold(net: SplitNet, site: str, scale: Tensor) -> None:
    """Multiply the output channels of the edge's layer `site` by `scale`, in its weights."""
    layer = net.edge.get_submodule(site)
    for parameter in (layer.weight, layer.bias):
        if isinstance(parameter, Tensor):
            parameter.mul_(scale.view(-1, *[1] * (parameter.dim() - 1)))


def remove(net: SplitNet, image: Shape, gone: Mapping[str, list[int]]) -> None:
    """Take channels out of the edge's convolutions (name -> indices), and out of whatever read them, in both halves."""
    import torch_pruning as tp

    graph = trace(net, image)
    for name, index in gone.items():
        graph.get_pruning_group(net.edge.get_submodule(name), tp.prune_conv_out_channels, list(index)).prune()


@torch.no_grad()
def size(net: SplitNet, image: Shape) -> dict[str, float]:
    """What the edge costs for one image: `parameters`, `macs`, and `bytes` of its z in float32."""
    with evaluating(net), FlopCounterMode(display=False) as counter:
        z = net.edge(torch.full((1, *image), 0.5, device=next(net.parameters()).device))
    parameters = sum(p.numel() for p in net.edge.parameters())
    return {"parameters": float(parameters), "macs": counter.get_total_flops() / 2, "bytes": 4.0 * z.numel()}


def savings(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Every `size` as `_before` and `_after`, and the share that was `_saved`."""
    sizes = {f"{key}_before": value for key, value in before.items()}
    sizes |= {f"{key}_after": value for key, value in after.items()}
    return sizes | {f"{key}_saved": 1 - after[key] / value if value else 0.0 for key, value in before.items()}
