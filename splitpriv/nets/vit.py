"""A small vision transformer: what crosses the cut is tokens, one per patch of the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.nets.layers import Normalise, named
from splitpriv.nets.split import Backbone
from splitpriv.nets.start import from_file
from splitpriv.types import Count, Spec, UserError


class Patches(nn.Module):
    """Images (N, C, H, W) as tokens (N, T, D), row by row, with learned positions; sides that `patch` does not divide
    gain zeros."""

    def __init__(self, spec: Spec, patch: int, width: int) -> None:
        super().__init__()
        self.normalise, self.patch = Normalise.of(spec), patch
        self.project = nn.Conv2d(spec.image[0], width, patch, patch)
        count = -(-spec.image[1] // patch) * -(-spec.image[2] // patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, count, width))

    def forward(self, x: Tensor) -> Tensor:
        height, across = x.shape[-2:]
        x = F.pad(self.normalise(x), (0, -across % self.patch, 0, -height % self.patch))
        return self.project(x).flatten(2).transpose(1, 2) + self.positions


class Attention(nn.Module):
    """Self-attention over tokens (N, T, D) with `heads` heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.inputs, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, z: Tensor) -> Tensor:
        query, key, value = self.inputs(z).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block: attention, then two layers with GELU, each beside an identity.

    It knows no positions: permuted tokens give permuted tokens.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attend = named(norm=nn.LayerNorm(width), attention=Attention(width, heads))
        layers = {"first": nn.Linear(width, 2 * width), "act": nn.GELU(), "last": nn.Linear(2 * width, width)}
        self.think = named(norm=nn.LayerNorm(width), **layers)

    def forward(self, z: Tensor) -> Tensor:
        z = z + self.attend(z)
        return z + self.think(z)


class MeanToken(nn.Module):
    """Mean over tokens: (N, T, D) -> (N, D)."""

    def forward(self, z: Tensor) -> Tensor:
        return z.mean(1)


@from_file
def vit_tiny(spec: Spec, *, width: Count, blocks: Count, heads: Count, patch: Count) -> Backbone:
    """A transformer without a class token: stages embed, block1 .. block`blocks`, head; z are tokens (N, T, `width`),
    T = 64 for patches of 4 at 32x32. Positions enter in embed alone. After Dosovitskiy et al. 2021."""
    if width % heads:
        raise UserError(f"backbone.heads: {heads} heads do not divide width={width}; give such as {width // 16 or 1}")
    stages: dict[str, nn.Module] = {"embed": Patches(spec, patch, width)}
    stages |= {f"block{i}": Block(width, heads) for i in range(1, blocks + 1)}
    stages["head"] = named(norm=nn.LayerNorm(width), pool=MeanToken(), fc=nn.Linear(width, spec.classes))
    cuts = {"shallow": 1, "middle": max(1, blocks // 2), "deep": max(1, 3 * blocks // 4)}
    return Backbone(stages, {word: f"block{i}" for word, i in cuts.items()})
