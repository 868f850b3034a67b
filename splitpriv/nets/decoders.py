"""Inversion decoders: release (N, *shape) -> image (N, C, H, W) in [0, 1], for any shape of either.

Nothing in them is stochastic: a decoder that merely watches a training must not consume its random numbers.
"""

from __future__ import annotations

import itertools
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.nets.feature_map import FeatureMap, path, scale_step
from splitpriv.types import Count, Shape, Whole


class ResBlock(nn.Module):
    """Pre-activation residual block: BN-ReLU-conv-BN-ReLU-conv, with a 1x1 conv-BN shortcut where channels change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z) + self.shortcut(z)


class UNet(nn.Module):
    """A U-Net that keeps the size of its input, odd sizes included; `depth` halvings, each doubling the width."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.enter = _conv_unit(inputs, width)
        self.down = nn.ModuleList(scale_step(a, b, up=False) for a, b in itertools.pairwise(widths))
        self.bottom = _conv_unit(widths[-1], widths[-1])
        self.up = nn.ModuleList(_conv_unit(a + b, a) for a, b in itertools.pairwise(widths))
        self.leave = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        z = self.enter(z)
        skips = []
        for down in self.down:
            skips.append(z)
            z = down(z)
        z = self.bottom(z)
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            z = up(torch.cat([F.interpolate(z, skip.shape[-2:], mode="nearest"), skip], 1))
        return self.leave(z)


def conv(shape: Shape, image: Shape, *, width: Count, widest: Count) -> nn.Module:
    """The plain mirror of a convolutional edge: `width` channels at the image's size, twice as many at each halving of
    it, up to `widest`."""
    layers, channels = to_size(shape, image, width, widest)
    return nn.Sequential(*layers, nn.Conv2d(channels, image[0], 3, padding=1), nn.Sigmoid())


def residual(shape: Shape, image: Shape, *, blocks: Whole, width: Count) -> nn.Module:
    """res_normN·C· of ResSFL and CEM: `blocks` residual blocks of `width` channels before the upsampling.

    As there, at least two steps follow the blocks: upsampling while the size calls for it, residual blocks otherwise.
    """
    start = FeatureMap(shape, image, width)
    way = path(start.map_shape, image)
    times = way.times
    layers: list[nn.Module] = [start, ResBlock(start.map_shape[0], width), nn.ReLU()]
    layers += way.grow(start.map_shape, width)
    for _ in range(blocks):
        layers += [ResBlock(width, width), nn.ReLU()]
    for step in range(max(2, abs(times))):
        layers += [scale_step(width, width, up=times > 0)] if step < abs(times) else [ResBlock(width, width)]
    return nn.Sequential(*layers, *way.end, ResBlock(width, image[0]), nn.Sigmoid())


def unet(shape: Shape, image: Shape, *, width: Count, depth: Whole) -> nn.Module:
    """The release brought to the image's size as `conv` does, then refined by a U-Net of `depth` levels.

    Tiny images have fewer levels. No layer is wider than the U-Net's lowest: width * 2**depth.
    """
    layers, channels = to_size(shape, image, width, width << depth)
    levels = max(0, min(depth, int(log2(min(image[1:]))) - 1))
    return nn.Sequential(*layers, UNet(channels, image[0], width, levels), nn.Sigmoid())


def to_size(shape: Shape, image: Shape, width: int, widest: int) -> tuple[list[nn.Module], int]:
    """Layers from a release to a map of the image's size, and that map's channels; any two shapes will do."""
    start = FeatureMap(shape, image, widest)
    way = path(start.map_shape, image)
    times = way.times
    widths = [min(widest, width << max(times - level, 0)) for level in range(abs(times) + 1)]
    layers: list[nn.Module] = [start, _conv_unit(start.map_shape[0], widths[0])]
    layers += way.grow(start.map_shape, widths[0])
    layers += [scale_step(a, b, up=times > 0) for a, b in itertools.pairwise(widths)]
    return [*layers, *way.end], widths[-1]


def _conv_unit(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
