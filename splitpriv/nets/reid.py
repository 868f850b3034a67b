"""Networks for re-identification: trunks whose last stage keeps its resolution, and the BNNeck (Luo et al. 2019)."""

from __future__ import annotations

from itertools import chain, pairwise
from math import ceil, log2, prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from splitpriv.nets.feature_map import FeatureMap, reached, scale_step
from splitpriv.nets.layers import GlobalMean, named
from splitpriv.nets.pretrained import Weights, normalise, torchvision_model
from splitpriv.nets.small import tiny
from splitpriv.nets.split import Backbone
from splitpriv.nets.start import from_file
from splitpriv.types import Count, Shape, Spec

Pooling = Literal["mean", "gem"]
Stride = Literal[1, 2]


class GeM(nn.Module):
    """Generalised mean over all positions, (N, C, H, W) -> (N, C): (mean z^p)^(1/p), with a learned p from 3 on."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, z: Tensor) -> Tensor:
        return z.float().clamp_min(1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)


class BNNeck(nn.Module):
    """Features (N, E) -> logits (N, classes): BatchNorm without an offset, then a linear layer without one.

    A triplet loss belongs on the features that come in; identities are compared by the cosine of `embed`.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.neck = nn.BatchNorm1d(features)
        self.neck.register_parameter("bias", None)
        self.fc = nn.Linear(features, classes, bias=False)
        nn.init.normal_(self.fc.weight, std=0.001)

    def embed(self, features: Tensor) -> Tensor:
        """The normalised features (N, E)."""
        return self.neck(features)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(self.embed(features))


@from_file
def resnet18_reid(spec: Spec, *, weights: Weights, last_stride: Stride, pooling: Pooling) -> Backbone:
    """ResNet-18 with its 7x7 stem and a BNNeck: stages stem, block1 .. block8, pool, head.

    `last_stride` is that of block7: 1 doubles the size of the last maps (Sun et al. 2018).
    """
    net = torchvision_model("resnet18", spec, weights)
    last: Any = net.layer4[0]
    last.conv1.stride = last.downsample[0].stride = (last_stride, last_stride)
    stages: dict[str, nn.Module] = {
        "stem": named(normalise=normalise(spec, weights), conv=net.conv1, norm=net.bn1, act=net.relu, pool=net.maxpool)
    }
    for block in chain(net.layer1, net.layer2, net.layer3, net.layer4):
        stages[f"block{len(stages)}"] = block
    return _with_neck(
        stages, net.fc.in_features, spec, pooling, {"shallow": "block2", "middle": "block4", "deep": "block6"}
    )


@from_file
def tiny_reid(spec: Spec, *, width: Count, last_stride: Stride, pooling: Pooling) -> Backbone:
    """The stages conv1, conv2 and conv3 of `tiny`, pool, and a BNNeck over its 4 width channels."""
    trunk = tiny(spec, width=width)
    stages = dict(trunk.named_children())
    stages.pop("head")
    trunk.get_submodule("conv3.conv").stride = (last_stride, last_stride)  # type: ignore[assignment]
    return _with_neck(stages, 4 * width, spec, pooling, trunk.cuts)


def _with_neck(
    stages: dict[str, nn.Module], features: int, spec: Spec, pooling: Pooling, cuts: dict[str, str]
) -> Backbone:
    pool = GeM() if pooling == "gem" else GlobalMean()
    return Backbone({**stages, "pool": pool, "head": BNNeck(features, spec.classes)}, cuts)


def embedder(shape: Shape, image: Shape, features: int, *, width: Count, widest: Count) -> nn.Module:
    """An adversary's network from releases or images (N, *shape) to (N, features).

    Strided convolutions from `width` channels, doubled at each step up to `widest`, down to 4 pixels a side, which a
    linear layer sees one by one: unlike a mean over positions, it may use where in the image something is.
    """
    start = FeatureMap(shape, image, widest)
    channels, height, across = start.map_shape
    steps = max(0, ceil(log2(max(height, across) / 4)))
    widths = [min(widest, width << step) for step in range(steps + 1)]
    layers: list[nn.Module] = [start, nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    layers += [scale_step(a, b, up=False) for a, b in pairwise(widths)]
    flat = widths[-1] * prod(reached(start.map_shape, -steps))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, features))
