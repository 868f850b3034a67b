"""From a release of any shape to a feature map, and from its size to the image's: what all decoders share."""

from __future__ import annotations

from math import isqrt, log2, prod

import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.types import Shape

_MOST_WEIGHTS = 2**21  # of the linear layer that lays out a flat release


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
    """Bilinear interpolation to a fixed size, where factors of two do not lead to it."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, z: Tensor) -> Tensor:
        return F.interpolate(z, self.size, mode="bilinear", align_corners=False)


def doublings(map_shape: Shape, image: Shape) -> int:
    """How often to double the map's sides to come closest to the image's; negative: how often to halve them."""
    return round(log2(min(image[1] / map_shape[1], image[2] / map_shape[2])))


def reached(map_shape: Shape, times: int) -> tuple[int, int]:
    """The map's height and width after `times` doublings, or -`times` halvings that round up."""
    height, width = map_shape[1:]
    if times >= 0:
        return height << times, width << times
    return -(-height >> -times), -(-width >> -times)


def scale_step(inputs: int, outputs: int, up: bool) -> nn.Sequential:
    """Twice the size by a transposed 3x3 convolution, or half of it by a strided one; then BatchNorm and ReLU."""
    conv: nn.Module = nn.Conv2d(inputs, outputs, 3, 2, 1)
    if up:
        conv = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def fit_size(map_shape: Shape, times: int, image: Shape) -> list[nn.Module]:
    """The resize that remains after `times` doublings, if one does."""
    return [] if reached(map_shape, times) == tuple(image[1:]) else [Resize(image[1], image[2])]


def _grid_of(tokens: int) -> int | None:
    """The side of the square that `tokens`, or all but a class token, fill."""
    for count in (tokens, tokens - 1):
        if count > 1 and isqrt(count) ** 2 == count:
            return isqrt(count)
    return None
