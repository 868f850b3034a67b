"""Nets that know, or are inclined to, what images look like: a denoiser, a generator, and an untrained net."""

from __future__ import annotations

import itertools
from math import ceil, log2, prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.nets.decoders import UNet
from splitpriv.types import Shape


class Denoiser(nn.Module):
    """x + sigma e (N, C, H, W) and sigma (N,) -> an estimate of E[x | x + sigma e]: a U-Net that predicts the noise."""

    def __init__(self, image: Shape, width: int, depth: int) -> None:
        super().__init__()
        levels = max(0, min(depth, int(log2(min(image[1:]))) - 1))
        self.net = UNet(image[0] + 1, image[0], width, levels)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.view(-1, 1, 1, 1)
        given = torch.cat([noisy - 0.5, level.log().div(4).expand(-1, -1, *noisy.shape[2:])], 1)
        return noisy - level * self.net(given)


class Vae(nn.Module):
    """A convolutional variational autoencoder (Kingma & Welling 2014): image (N, C, H, W) in [0, 1] <-> code (N, D)."""

    def __init__(self, image: Shape, width: int, size: int) -> None:
        super().__init__()
        self.image, self.size = image, size
        steps = max(1, ceil(log2(min(image[1:]) / 4)))
        sides = [image[1:]]
        for _ in range(steps):
            sides.append(tuple(-(-s // 2) for s in sides[-1]))
        self.sides, widths = sides, [min(4, 1 << k) * width for k in range(steps + 1)]
        self.low = (widths[-1], *sides[-1])
        down = [_unit(image[0], widths[0])]
        down += [_unit(a, b, stride=2) for a, b in itertools.pairwise(widths)]
        self.down = nn.Sequential(*down, nn.Flatten(), nn.Linear(prod(self.low), 2 * size))
        self.enter = nn.Linear(size, prod(self.low))
        self.up = nn.ModuleList(_unit(b, a) for a, b in itertools.pairwise(widths))
        self.leave = nn.Conv2d(widths[0], image[0], 3, padding=1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of the code, (N, D) each."""
        mean, log_std = self.down(x - 0.5).chunk(2, 1)
        return mean, log_std.clamp(-7, 2)

    def decode(self, code: Tensor) -> Tensor:
        """The image of a code."""
        h = self.enter(code).view(-1, *self.low)
        for side, unit in zip(self.sides[-2::-1], reversed(self.up), strict=True):
            h = unit(F.interpolate(h, side, mode="nearest"))
        return self.leave(h).sigmoid()


class Generator(Vae):
    """The half of it that makes images of codes: (N, D) -> (N, C, H, W) in [0, 1]."""

    def __init__(self, image: Shape, width: int, size: int) -> None:
        super().__init__(image, width, size)
        del self.down

    def forward(self, code: Tensor) -> Tensor:
        return self.decode(code)


class DeepDecoders(nn.Module):
    """`count` untrained nets at once, one per image: deep decoders (Heckel & Hand, ICLR 2019) on one random input.

    Each of `depth` layers mixes channels (1x1), doubles the size bilinearly, applies ReLU and normalises each channel;
    a last 1x1 layer and a sigmoid give the image. Few weights and smooth upsampling make natural images easy to
    express and noise hard, without any training.
    """

    def __init__(self, image: Shape, width: int, depth: int, count: int) -> None:
        super().__init__()
        sides = [image[1:]]
        for _ in range(depth):
            sides.append(tuple(-(-s // 2) for s in sides[-1]))
        self.image, self.sides, self.width = image, sides[::-1], width
        self.register_buffer("seed", torch.rand(1, width, prod(self.sides[0])))
        bound = 1 / sqrt(width)
        weights = [torch.empty(1, width, width).uniform_(-bound, bound) for _ in range(depth)]
        weights.append(torch.empty(1, image[0], width).uniform_(-bound, bound))
        self.mix = nn.ParameterList(w.expand(count, -1, -1).clone() for w in weights)  # all start alike
        self.scale = nn.ParameterList(torch.ones(count, width, 1) for _ in range(depth))
        self.shift = nn.ParameterList(torch.zeros(count, width, 1) for _ in range(depth))

    seed: Tensor

    def forward(self) -> Tensor:
        """The images (count, C, H, W)."""
        count, h = len(self.mix[0]), self.seed
        h = h.expand(count, -1, -1)
        for side, mix, scale, shift, before in zip(self.sides[1:], self.mix, self.scale, self.shift, self.sides,
                                                   strict=False):  # fmt: skip
            h = (mix @ h).view(count, self.width, *before)
            h = F.interpolate(h, side, mode="bilinear", align_corners=False).relu().flatten(2)
            mean, var = h.mean(2, keepdim=True), h.var(2, keepdim=True, correction=0)
            h = scale * (h - mean) / (var + 1e-5).sqrt() + shift
        return (self.mix[-1] @ h).view(count, *self.image).sigmoid()


def _unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
