"""Complex-valued features turned by a random angle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import Fraction, Shape, Spec


class ComplexValued(Defense):
    """z read as complex numbers c = a + ib, of which e^{iθ}c leaves, θ drawn afresh for every release (Xiang et al.,
    ICLR 2020, arXiv 1901.09546, Eq. 1). a is the first half of z's entries and b the second, so that the release has
    the shape of z; an odd entry stays. θ is uniform on `spread` of the circle, ±spread·π.

    The paper cannot be followed to its end. Its θ is a key: the device keeps it and turns the server's answer back,
    from a network all of whose layers commute with a turn, and b is another image's feature, by a GAN made as likely as
    a. Here the server answers, so that cloud and edge learn to do without θ. What then is left of the idea is one
    unknown number per release; every adversary turns releases back, to the angle at which the mean feature of its own
    images lies along theirs, and who compares an image with a release finds the angle between the two (`gap`).

    Open in the paper: which layers a given network loses on its way to one that commutes.
    """

    version = 2  # the angle is found for every image that is compared
    strength: ClassVar[Mapping[str, str]] = {"spread": "interval(0.05, 1.0)"}

    def __init__(self, *, spread: Fraction) -> None:
        super().__init__()
        self.spread = spread
        self._facts: dict[str, float] = {}

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.pairs = math.prod(shape) // 2

    def after_edge(self, z: Tensor) -> Tensor:
        angle = (2 * torch.rand(len(z), device=z.device, dtype=z.dtype) - 1) * self.spread * math.pi
        return self.turned(z, angle)

    def expected(self, z: Tensor) -> Tensor:
        return z  # of which adversaries read the same as of z turned

    def gap(self, z: Tensor, release: Tensor) -> Tensor:
        """As if turned by the angle at which z explains the release best, the one of Σ release·conj(c)."""
        a, b, _ = self.parts(z)
        real, imaginary, _ = self.parts(release)
        angle = torch.atan2((a * imaginary - b * real).sum(1), (a * real + b * imaginary).sum(1)).detach()
        return self.turned(z, angle) - release

    def turned(self, z: Tensor, angle: Tensor) -> Tensor:
        """e^{i·angle}c as real entries in the shape of z; angle (N,) in radians."""
        a, b, rest = self.parts(z)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        return torch.cat([cos * a - sin * b, sin * a + cos * b, rest], 1).view(z.shape)

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Real parts, imaginary parts, and what has no partner, each (N, ...)."""
        flat = z.flatten(1)
        return flat[:, : self.pairs], flat[:, self.pairs : 2 * self.pairs], flat[:, 2 * self.pairs :]

    def reading(self, own: Tensor, colludes: bool) -> Callable[[Tensor], Tensor]:
        real, imaginary, _ = self.parts(own.mean(0, keepdim=True))

        def angle(r: Tensor) -> Tensor:
            """Of Σ c·conj(mean of own c)."""
            a, b, _ = self.parts(r)
            return torch.atan2((b * real - a * imaginary).sum(1), (a * real + b * imaginary).sum(1))

        off = angle(own).double()
        (self._facts["angle_restored"],) = host.to_host(torch.hypot(off.cos().mean(), off.sin().mean())[None])
        return lambda r: self.turned(r, -angle(r))

    @property
    def facts(self) -> Mapping[str, float]:
        """`angle_restored`: the mean of e^{i·(what an adversary misses)} over its own images; 1: it misses nothing."""
        return self._facts
