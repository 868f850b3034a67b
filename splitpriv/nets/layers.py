"""Small parts that the backbones share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.types import Spec, UserError


class Normalise(nn.Module):
    """(x - mean) / std per channel; a grey image meets three-channel statistics by becoming three channels.

    The statistics come with the data set, so they are buffers outside the state dict.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels: int) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            column = torch.tensor(tuple(values), dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, column.expand(channels, 1, 1).clone(), persistent=False)

    @classmethod
    def of(cls, spec: Spec, channels: int | None = None) -> Normalise:
        """With the data set's own statistics."""
        return cls(spec.mean, spec.std, channels or spec.image[0])

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Resized(nn.Module):
    """Images at the one size that a network takes, bilinear; smoothed where they shrink."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] == self.size:
            return x
        shrinks = x.shape[-2] > self.size[0] or x.shape[-1] > self.size[1]
        return F.interpolate(x, self.size, mode="bilinear", align_corners=False, antialias=shrinks)


class GlobalMean(nn.Module):
    """Mean over all positions: (N, C, H, W) -> (N, C)."""

    def forward(self, z: Tensor) -> Tensor:
        return z.mean((2, 3))


def named(**layers: nn.Module) -> nn.Sequential:
    """A Sequential whose layers have names."""
    return nn.Sequential(OrderedDict(layers))


def require_side(backbone: str, spec: Spec, side: int) -> None:
    """Raise UserError if an image is too small for the network's pooling."""
    height, width = spec.image[1:]
    if min(height, width) < side:
        raise UserError(
            f"backbone: {backbone} needs images of at least {side}x{side}, these are {height}x{width}; "
            "use backbone=tiny, or resize the data set"
        )
