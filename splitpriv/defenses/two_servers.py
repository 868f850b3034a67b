"""Splitting over two servers that do not collude: secret shares of z, or half of its channels each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.divided import Divided, Holds
from splitpriv.types import Shape, Spec, UserError, Whole


class TwoServers(Divided):
    """Two servers get a release each, and compute together what the cloud computes of z.

    `scheme` additive: q = round(2^`fraction` z) in the ring of 2^`bits` integers (what lies beyond is clipped), s1
    uniform in it and s2 = q - s1 modulo 2^`bits`, so that s1 + s2 = q and each share alone is uniform, independent of z
    (two-party secret sharing as in SecureML, Mohassel & Zhang 2017; numbers of equations not at hand). What is sent is
    s / 2^`bits`. divided: each server gets half of the channels (of tokens, of their entries) as they are (the shares
    of PrivDFS, 2025), which hides no more than leaving them out.

    `holds`: the server that the adversary is. Servers that collude (attack `colluding`) hold z: nothing but rounding
    protects it. Open: how the servers compute on shares, its cost and its rounds; here the cloud has both. PrivDFS
    learns its division and lets each server answer for itself.
    """

    def __init__(self, *, scheme: Literal["additive", "divided"], holds: Holds,
                 bits: Annotated[int, Interval(ge=2, le=23)], fraction: Whole) -> None:  # fmt: skip
        super().__init__(holds)
        if scheme == "additive" and fraction >= bits:
            raise UserError(f".fraction: {fraction} of {bits} bits leave none before the point; set fraction < bits")
        self.scheme, self.size, self.scale = scheme, 2**bits, 2.0**fraction  # sums of shares are exact in fp32
        self.bits = float(bits) if scheme == "additive" else 32.0

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        if self.scheme == "additive":
            super().attach(model, spec, shape)
            return
        self.axis = 2 if len(shape) == 2 else 1
        if shape[self.axis - 1] < 2:
            raise UserError(f".scheme: z {shape} has one channel, which two servers cannot divide; use scheme=additive")

    def validate(self, chain: Mapping[str, Defense]) -> None:
        if self.scheme != "additive":
            return
        super().validate(chain)
        names = [*chain]
        after = names[next(i for i, link in enumerate(chain.values()) if link is self) + 1 :]
        hooks = ("after_edge", "penalty")
        acting = [n for n in after if any(getattr(type(chain[n]), h) is not getattr(Defense, h) for h in hooks)]
        if acting:
            raise UserError(f": {acting[0]} comes after it, where it would change the shares, or learn from them, "
                            "which say nothing; list it before")  # fmt: skip

    def shares(self, z: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """`first`, of the ring's integers, and what is left of z, over the ring's size: both lie in [0, 1).

        The gradient passes straight through the second.
        """
        fixed = (z.detach() * self.scale).round().clamp(-self.size // 2, self.size // 2 - 1)
        second = (fixed - first).remainder(self.size) + self.scale * (z - z.detach())
        return first / self.size, second / self.size

    def divide(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.shares(z, torch.randint_like(z, self.size))

    def unite(self, first: Tensor, second: Tensor) -> Tensor:
        total = (first + second).remainder(1)
        return (total - (total >= 0.5).to(total.dtype)) * (self.size / self.scale)

    def after_edge(self, z: Tensor) -> Tensor:
        return super().after_edge(z) if self.scheme == "additive" else z

    def expected(self, z: Tensor) -> Tensor:
        """Of shares those with s1 at its mean, so that colluders compare z."""
        if self.scheme == "divided":
            return z
        return torch.cat(self.shares(z, torch.full_like(z, self.size // 2)), self.axis)

    def together(self, r: Tensor) -> Tensor:
        return r if self.scheme == "divided" else self.unite(*r.chunk(2, self.axis))

    strength: ClassVar[Mapping[str, str]] = {"fraction": "int(interval(0, 10))"}
