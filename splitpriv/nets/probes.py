"""Classifiers of releases, for adversaries that want an attribute and no image."""

from __future__ import annotations

import itertools
from math import prod

from torch import nn

from splitpriv.nets.feature_map import FeatureMap, scale_step
from splitpriv.nets.layers import GlobalMean
from splitpriv.types import Shape


def mlp(shape: Shape, values: int, *, hidden: list[int]) -> nn.Module:
    """Releases (N, *shape) -> logits (N, values) through ReLU layers of `hidden` units; none: multinomial logistic."""
    widths = [prod(shape), *hidden]
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], values))


def cnn(shape: Shape, values: int, *, width: int, hidden: list[int]) -> nn.Module:
    """The same on the release as a map: strided 3x3 convolutions with BatchNorm and ReLU until 4x4 or less is left (one
    at least), `width` channels doubling up to four times as many, then the mean over places and an `mlp`."""
    start = FeatureMap(shape, (1, 8, 8), width)  # a release without places is laid out on 8x8
    channels, height, across = start.map_shape
    layers: list[nn.Module] = [start]
    outputs = width
    while len(layers) == 1 or max(height, across) > 4:
        layers.append(scale_step(channels, outputs, up=False))
        channels, outputs = outputs, min(2 * outputs, 4 * width)
        height, across = -(-height // 2), -(-across // 2)
    return nn.Sequential(*layers, GlobalMean(), mlp((channels,), values, hidden=hidden))
