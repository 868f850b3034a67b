"""Nets of the attack suite: they compute at half the image's size, where a plain convolution costs a quarter."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.nets.decoders import ResBlock, UNet, to_size
from splitpriv.nets.feature_map import Crop
from splitpriv.types import Count, Shape, Whole


class Fold(nn.Module):
    """Images (N, C, H, W) as (N, 4C, H/2, W/2): a 2x2 block of pixels is one position; odd sides gain zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2)), 2)


def half(image: Shape) -> tuple[int, int]:
    """The size at which these nets compute: half the image's, rounded up."""
    return -(-image[1] // 2), -(-image[2] // 2)


def unfold(width: int, image: Shape) -> list[nn.Module]:
    """From `width` channels at half the size to an image, without bounds."""
    last = nn.Conv2d(width, 4 * image[0], 3, padding=1)
    return [nn.BatchNorm2d(width), nn.ReLU(inplace=True), last, nn.PixelShuffle(2), Crop(*image[1:])]


def folded(shape: Shape, image: Shape, *, width: Count, blocks: Whole, depth: Whole) -> nn.Module:
    """A decoder: release (N, *shape) -> image in [0, 1], by `blocks` residual blocks of `width` channels, then a U-Net
    of `depth` levels, fewer for tiny images."""
    layers, channels = to_size(shape, (width, *half(image)), width, 4 * width)
    body: list[nn.Module] = [nn.Conv2d(channels, width, 1)] if channels != width else []
    body += [ResBlock(width, width) for _ in range(blocks)]
    levels = max(0, min(depth, int(log2(min(half(image)))) - 1))
    body += [UNet(width, width, width, levels)] if depth else []
    return nn.Sequential(*layers, *body, *unfold(width, image), nn.Sigmoid())


class Refiner(nn.Module):
    """What to add to an image, from what is known of it: releases, and images that are guesses at it, or gradients.

    `shapes` are those of the releases (N, *shape), `guesses` is how many images (N, C, H, W) it sees. Every input is
    standardised by BatchNorm, so that no scale of a release or a gradient matters. It adds nothing until trained.
    """

    def __init__(self, shapes: Sequence[Shape], image: Shape, guesses: Count, *, width: Count, blocks: Whole) -> None:
        super().__init__()
        lifts, channels = [], 0
        for shape in shapes:
            layers, count = to_size(shape, (width, *half(image)), width, 4 * width)
            lifts.append(nn.Sequential(*layers))
            channels += count
        self.lifts, self.fold = nn.ModuleList(lifts), Fold()
        pixels = 4 * image[0] * guesses
        self.norm = nn.BatchNorm2d(pixels)
        body = [ResBlock(width, width) for _ in range(blocks)]
        self.body = nn.Sequential(nn.Conv2d(channels + pixels, width, 3, padding=1), *body, *unfold(width, image))
        last = next(m for m in reversed(self.body) if isinstance(m, nn.Conv2d))
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)

    def forward(self, releases: Sequence[Tensor], images: Sequence[Tensor]) -> Tensor:
        """The correction (N, C, H, W); `releases` and `images` in the order of `shapes` and as many as `guesses`."""
        seen = [lift(r) for lift, r in zip(self.lifts, releases, strict=True)]
        pixels = self.norm(torch.cat([self.fold(x) for x in images], 1))
        return self.body(torch.cat([*seen, pixels], 1))
