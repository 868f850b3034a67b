"""Shuffling of tokens: the device sends them in an order of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.places import Order, Places, require_some
from splitpriv.types import Fraction, Shape, Spec


class TokenShuffle(Defense):
    """The tokens of z in an order drawn afresh for every release: P·z with a random permutation P (Yao et al., ICDM
    2022, "Privacy-preserving split learning via patch shuffling over transformers"; "token shuffling" in DRAG, 2025;
    numbers of equations not at hand).

    Transformer blocks are permutation-equivariant, T(P·z) = P·T(z), so that a cloud that reads tokens by their mean or
    by the class token, which stays first, answers as before. A share `share` of an image's tokens changes places among
    themselves. Of a feature map the positions are shuffled, of a vector the entries: their clouds have to learn it.

    Every adversary sees tokens put back by `Order`, which it fits to its own images. Open: the paper bounds the chance
    of a guessed order, which tokens that show their place, by positions or by content, void; its shuffling between the
    images of a batch and in the spectrum is not here.
    """

    strength: ClassVar[Mapping[str, str]] = {"share": "interval(0.1, 1.0)"}

    def __init__(self, *, share: Fraction) -> None:
        super().__init__()
        self.share = share
        self._facts: dict[str, float] = {}

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.places = Places(shape)
        self._move()

    def _move(self) -> None:
        """Say how many of the places change places among themselves."""
        self.moving = round(self.share * self.places.count)
        require_some(self.moving, self.share, self.places.count, f".share: {self.share:g} of the places", least=2)

    def after_edge(self, z: Tensor) -> Tensor:
        return self.places.moved(z, partial_order(len(z), self.places.count, self.moving, z.device))

    def expected(self, z: Tensor) -> Tensor:
        return z

    def reading(self, own: Tensor, colludes: bool) -> Callable[[Tensor], Tensor]:
        places, order = self.places, Order(self.places.tokens(own))
        found = order(places.tokens(own)) == torch.arange(places.count, device=own.device)
        (self._facts["order_restored"],) = host.to_host(found.double().mean()[None])
        return lambda r: places.moved(r, order(places.tokens(r)))

    @property
    def facts(self) -> Mapping[str, float]:
        """`order_restored`: the share of its own tokens that an adversary puts where they belong."""
        return self._facts


def partial_order(batch: int, count: int, moving: int, device: torch.device) -> Tensor:
    """Permutations (batch, count), each of a random choice of `moving` places among themselves."""
    chosen = torch.rand(batch, count, device=device).argsort(1)[:, :moving]
    order = torch.arange(count, device=device).repeat(batch, 1)
    return order.scatter(1, chosen.sort(1).values, chosen)
