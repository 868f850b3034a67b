"""Dropping of tokens: the device sends but some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.places import Places, require_some
from splitpriv.types import Rate, Shape, Spec


class TokenDrop(Defense):
    """A share `rate` of the tokens of z, drawn afresh for every release, is not sent: the cloud finds zeros there.

    At least one token and a class token are sent. Of a feature map all channels of a position go together, of a vector
    entries. Random token dropping as in DRAG (Lei et al., ICML 2025; numbers of equations not at hand), beside
    `token_shuffle`.

    Which tokens are missing is seen, and repeated releases send the rest: attacks that average (`draws`) and that look
    at the zeros (`mask`) must measure it. Open: whether the cloud should see fewer tokens instead of zeros, and whether
    the choice may depend on the image; here it may not.
    """

    version = 2
    adaptive = frozenset({"draws", "mask"})
    strength: ClassVar[Mapping[str, str]] = {"rate": "interval(0.05, 0.95)"}

    def __init__(self, *, rate: Rate) -> None:
        super().__init__()
        self.rate = rate

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.places = Places(shape)
        count = self.places.count
        self.sent = max(1, round((1 - self.rate) * count))
        require_some(count - self.sent, self.rate, count, f".rate: {self.rate:g} of the places")
        self.bits = 32 * self.sent / self.places.count + 1 / self.places.width  # a bit says whether a token is there

    def after_edge(self, z: Tensor) -> Tensor:
        tokens = self.places.tokens(z)
        rank = torch.rand(tokens.shape[:2], device=z.device).argsort(1).argsort(1)
        return self.places.back(tokens.masked_fill((rank >= self.sent).unsqueeze(2), 0.0), z)

    def expected(self, z: Tensor) -> Tensor:
        return self.places.back(self.sent / self.places.count * self.places.tokens(z), z)

    def gap(self, z: Tensor, release: Tensor) -> Tensor:
        return torch.where(self.present(release), z - release, 0.0)

    def present(self, release: Tensor) -> Tensor:
        there = (self.places.tokens(release) != 0).any(2, keepdim=True)
        return self.places.back(there.expand(-1, -1, self.places.width), release)
