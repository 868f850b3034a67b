"""Where the network is cut: named stages, those kept on the edge, and the bottleneck across the cut."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import accumulate, pairwise
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from splitpriv.nets.bottleneck import bottleneck_pair
from splitpriv.types import Shape, Spec, UserError


class Backbone(nn.Sequential):
    """Named stages: the first normalises images in [0, 1], the last is the head that gives logits.

    `cuts` maps each of shallow, middle and deep to the last stage that stays on the edge. `init_edge`, if given,
    initialises every module that lands on the edge, the bottleneck included.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        cuts: Mapping[str, str],
        init_edge: Callable[[nn.Module], None] | None = None,
    ) -> None:
        super().__init__(OrderedDict(stages))
        self.cuts = dict(cuts)
        self.init_edge = init_edge
        self.facts: dict[str, Any] = {}  # that enter the key beside the settings

    @property
    def stages(self) -> list[str]:
        """What the edge can keep, in order, and the head, which it cannot."""
        return [name for name, _ in self.named_children()]

    def kept(self, at: int | str) -> int:
        """The number of stages that `at` keeps on the edge; raises UserError unless it leaves the head in the cloud."""
        return kept_stages(at, self.stages, self.cuts)

    def halves(self, kept: int) -> tuple[OrderedDict[str, nn.Module], OrderedDict[str, nn.Module]]:
        """The modules of the edge that keeps so many stages, and those of the cloud, each run one after the other."""
        stages = list(self.named_children())
        return OrderedDict(stages[:kept]), OrderedDict(stages[kept:])

    def parameters_kept(self) -> list[int]:
        """Parameters of the edge that keeps 1, 2, ... stages, all but the head."""
        return list(accumulate(_parameters(stage) for stage in list(self.children())[:-1]))

    def shape_at(self, kept: int, spec: Spec) -> Shape:
        """The shape of z where the edge keeps so many stages."""
        return _release_shape(nn.Sequential(*list(self.children())[:kept]), spec, next(self.parameters()).device)


class SplitNet(nn.Module):
    """The two halves of a backbone; parameters keep the names that they have in it.

    `at`: how many stages the edge keeps (0: the raw image leaves), or the last of them by name, or shallow, middle or
    deep, or {budget, compression}: as many as fit (`affordable_stages`). `bottleneck`: None, or channels, kernel,
    stride, activation of layers across the cut (`bottleneck_pair`). Raises UserError for a cut outside the net: at
    least the head stays in the cloud.
    """

    def __init__(self, backbone: Backbone, spec: Spec, *, at: int | str | Mapping[str, Any],
                 bottleneck: Mapping[str, Any] | None) -> None:  # fmt: skip
        super().__init__()
        self.stages, self.facts = backbone.stages, backbone.facts
        if isinstance(at, Mapping):
            self.at = affordable_stages(at, edge_sizes(backbone, spec, bottleneck))
        else:
            self.at = backbone.kept(at)
        edge, cloud = backbone.halves(self.at)
        if bottleneck is not None:
            shape = _release_shape(nn.Sequential(edge), spec, next(backbone.parameters()).device)
            squeeze, expand = bottleneck_pair(shape, bottleneck)
            if len(squeeze):
                edge["bottleneck"] = squeeze
            if expand is not None:
                cloud = OrderedDict([("expand", expand), *cloud.items()])
        self.edge, self.cloud = nn.Sequential(edge), nn.Sequential(cloud)
        if backbone.init_edge is not None:
            self.edge.apply(backbone.init_edge)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) in [0, 1], undefended."""
        return self.cloud(self.edge(x))

    def deeper(self, r: Tensor) -> list[Tensor]:
        """What each stage of the cloud before its last makes of releases r (N, ...), one after the other."""
        found = [r]
        for stage in list(self.cloud.children())[:-1]:
            found.append(stage(found[-1]))
        return [out for before, out in pairwise(found) if out is not before]


def kept_stages(at: int | str, stages: list[str], cuts: Mapping[str, str]) -> int:
    """The number of stages that `at` keeps on the edge; raises UserError unless it leaves the head in the cloud."""
    name = cuts.get(at, at) if isinstance(at, str) else at
    most = len(stages) - 1
    if isinstance(name, int) and not isinstance(name, bool):
        if 0 <= name <= most:
            return name
        problem = f"{at} is outside 0..{most}"
    elif name in stages[:-1]:
        return stages.index(name) + 1
    elif name == stages[-1]:
        problem = f"{at!r} is the last stage, which must stay in the cloud"
    else:
        near = get_close_matches(str(at), [*stages[:-1], *cuts], n=1)
        problem = f"there is no stage {at!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
    words = f", or {', '.join(cuts)}" if cuts else ""
    remedy = f"give how many stay on the edge (0..{most}), the last of them by name{words}"
    raise UserError(f"split.at: {problem}; stages are {stages}; {remedy}")


def edge_sizes(backbone: Backbone, spec: Spec, bottleneck: Mapping[str, Any] | None) -> list[int]:
    """Parameters of the edge that keeps 1, 2, ... stages, all but the head, each with its own bottleneck."""
    sizes = []
    for kept, count in enumerate(backbone.parameters_kept(), 1):
        extra = 0
        if bottleneck is not None:
            shape = backbone.shape_at(kept, spec)
            with torch.device("meta"):  # draws nothing
                extra = _parameters(bottleneck_pair(shape, bottleneck)[0])
        sizes.append(count + extra)
    return sizes


def affordable_stages(at: Mapping[str, Any], sizes: Sequence[int]) -> int:
    """The deepest cut whose edge, once pruned, has at most `budget` parameters (PATROL: pruning buys a later split).

    `at`: budget, and compression, the share of the edge's parameters that pruning is expected to save (0: none).
    `sizes`: those of the edge that keeps 1, 2, ... stages. Raises UserError where not even the first stage fits.
    """
    problems = [f"split.at.{key}: unknown key; a budget has budget and compression" for key in at
                if key not in ("budget", "compression")]  # fmt: skip
    budget, share = at.get("budget"), at.get("compression")
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        problems.append(f"split.at.budget: {budget!r}; give the most parameters of a pruned edge, at least 1")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        problems.append(f"split.at.compression: {share!r}; give the share that pruning saves, from 0 to below 1")
    if problems:
        raise UserError(*problems)
    left = [size - ceil(share * size) for size in sizes]  # type: ignore[operator]
    fit = [kept for kept, size in enumerate(left, 1) if size <= budget]  # type: ignore[operator]
    if not fit:
        raise UserError(
            f"split.at.budget: {budget} parameters hold no edge, not even one stage, which needs {min(left)} after "
            "pruning; raise it or split.at.compression"
        )
    return max(fit)


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def _release_shape(edge: nn.Sequential, spec: Spec, device: torch.device) -> Shape:
    modes = [(module, module.training) for module in edge.modules()]
    edge.eval()
    shape = tuple(edge(torch.full((2, *spec.image), 0.5, device=device)).shape[1:])
    for module, mode in modes:
        module.training = mode
    return shape
