"""From a release of any shape to a feature map, and from its size to the image's: what all decoders share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isqrt, log2, prod

import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.types import Shape

_MOST_WEIGHTS = 2**21  # of the linear layer that lays out a flat release
_MOST_GROWTH = 8  # positions that a transposed convolution adds


class FeatureMap(nn.Module):
    """A release (N, *shape) as a map (N, *map_shape).

    Tokens (T, D) become their square grid, without the class token if there is one. What has no grid, flat vectors and
    single positions included, is laid out by a linear layer: at the image's size up to 16 pixels a side, else on a 4x4
    grid (8x8 for images from 64x64 on), with fewer channels than `width` where the release is long.
    """

    def __init__(self, shape: Shape, image: Shape, width: int) -> None:
        super().__init__()
        self.skip = 0
        self.layout: nn.Linear | None = None
        self.tokens = len(shape) == 2 and _grid_of(shape[0]) is not None
        if self.tokens:
            side = _grid_of(shape[0]) or 0
            self.skip = shape[0] - side * side
            self.map_shape: tuple[int, int, int] = (shape[1], side, side)
        elif len(shape) == 3 and shape[1] * shape[2] > 1:
            self.map_shape = (shape[0], shape[1], shape[2])
        else:
            start = 8 if min(image[1:]) >= 64 else 4
            height, across = (side if side <= 16 else start for side in image[1:])
            inputs = prod(shape)
            channels = max(1, min(width, _MOST_WEIGHTS // (inputs * height * across)))
            self.map_shape = (channels, height, across)
            self.layout = nn.Linear(inputs, prod(self.map_shape))

    def forward(self, r: Tensor) -> Tensor:
        if self.tokens:
            return r[:, self.skip :].transpose(1, 2).reshape(len(r), *self.map_shape)
        if self.layout is not None:
            return self.layout(r.flatten(1)).view(len(r), *self.map_shape)
        return r


class Resize(nn.Module):
    """Bilinear interpolation to a fixed size, where nothing better leads to it."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, z: Tensor) -> Tensor:
        return F.interpolate(z, self.size, mode="bilinear", align_corners=False)


class Crop(nn.Module):
    """The upper left of a map: what strided layers that round up have added lies at the other ends."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, z: Tensor) -> Tensor:
        return z[..., : self.size[0], : self.size[1]]


@dataclass(frozen=True)
class Path:
    """How a map comes to the image's size: grown to `start`, doubled (or halved) `times`, brought to size by `end`."""

    start: tuple[int, int]
    times: int
    end: Sequence[nn.Module]

    def grow(self, map_shape: Shape, channels: int) -> list[nn.Module]:
        """The transposed convolution that undoes convolutions without padding, if the map must grow."""
        kernel = (self.start[0] - map_shape[1] + 1, self.start[1] - map_shape[2] + 1)
        if kernel == (1, 1):
            return []
        return [nn.ConvTranspose2d(channels, channels, kernel), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def path(map_shape: Shape, image: Shape) -> Path:
    """The way from a map's size to the image's that keeps every position over the pixels that it came from.

    As many doublings as still leave the map no larger than it must be; what it lacks before them is what convolutions
    without padding took away, and what it has too much after them is what strided ones rounded up. Interpolating
    instead would shift positions against pixels, up to several of them, which no convolution that follows can undo. A
    map that lacks much, or is larger than the image, is interpolated at the end.
    """
    sides, wanted = map_shape[1:], image[1:]
    times = floor(log2(min(b / a for a, b in zip(sides, wanted, strict=True))))
    if times >= -1 and all(b >= a for a, b in zip(sides, _halved(wanted, times + 1), strict=True)):
        times += 1  # strided layers round up
    if times >= 0:
        height, width = _halved(wanted, times)
        if max(height - sides[0], width - sides[1]) <= _MOST_GROWTH:
            exact = (height << times, width << times) == tuple(wanted)
            return Path((height, width), times, [] if exact else [Crop(*wanted)])
    times = round(log2(min(b / a for a, b in zip(sides, wanted, strict=True))))
    end: list[nn.Module] = [] if reached(map_shape, times) == tuple(wanted) else [Resize(*wanted)]
    return Path((sides[0], sides[1]), times, end)


def _halved(sides: Sequence[int], times: int) -> tuple[int, int]:
    return -(-sides[0] >> times), -(-sides[1] >> times)


def reached(map_shape: Shape, times: int) -> tuple[int, int]:
    """The map's height and width after `times` doublings, or -`times` halvings that round up."""
    if times >= 0:
        return map_shape[1] << times, map_shape[2] << times
    return _halved(map_shape[1:], -times)


def scale_step(inputs: int, outputs: int, up: bool) -> nn.Sequential:
    """Twice the size by a transposed 3x3 convolution, or half of it by a strided one; then BatchNorm and ReLU."""
    conv: nn.Module = nn.Conv2d(inputs, outputs, 3, 2, 1)
    if up:
        conv = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _grid_of(tokens: int) -> int | None:
    """The side of the square that `tokens`, or all but a class token, fill."""
    for count in (tokens, tokens - 1):
        if count > 1 and isqrt(count) ** 2 == count:
            return isqrt(count)
    return None
