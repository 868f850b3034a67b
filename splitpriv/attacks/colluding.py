"""Colluders: servers that put together all that they were sent, and what their parts of the network made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv.attacks.base import Access, Attack, Aux, Reconstructor, Right
from splitpriv.types import Shape, UserError, Whole, blame

GIVEN: frozenset[str] = frozenset({"query", "aux"})


class Colluding(Attack):
    """`base`, an image attack, by all servers together: of two that share z they see both releases.

    `layers`: how many of the cloud's next stages further servers hold, as in a pipeline of a transformer's layers; what
    each of them computes joins the release as further channels. From noiseless layers that follows from the release
    and only helps the attack to see it. Raises UserError for a base that needs more than queries and aux while there
    are layers, and where the cloud has fewer.
    """

    colludes = True

    def __init__(self, *, base: Callable[[], Attack], layers: Whole) -> None:
        with blame(".base"):
            self.base = base()
        if self.base.recovers != "image" or self.base.observe != "release":
            raise UserError(".base: colluders rebuild images from releases; use decoder, or rmle with layers=0")
        if layers and not self.base.requires <= GIVEN:
            raise UserError(".layers: are seen by attacks that need queries and aux alone; use base=decoder, or 0")
        self.layers, self.draws, self.eot = layers, self.base.draws, self.base.eot

    @property
    def requires(self) -> frozenset[Right]:  # type: ignore[override]
        return self.base.requires | ({"layers"} if self.layers else set())

    @property
    def adapts(self) -> frozenset[str]:
        return self.base.adapts | {"collusion"}

    def validate(self, shape: Shape, stages: int) -> None:
        if self.layers > stages:
            raise UserError(f".layers: {self.layers}, but the cloud has {stages} stages before its head; lower it, or "
                            "cut earlier")  # fmt: skip

    def fit(self, access: Access, home: Path) -> Reconstructor:
        if self.layers:
            return self._with_layers(access, home)
        with blame(".base"):
            return self.base.fit(access, home)

    def _with_layers(self, access: Access, home: Path) -> Reconstructor:
        @torch.no_grad()
        def seen(r: Tensor) -> Tensor:
            return together(r, access.layers(r)[: self.layers])

        own = access.aux
        aux = Aux(own.split, lambda x: x, lambda x: seen(access.query(x)), cacheable=False)
        shape: Shape = tuple(seen(access.query(own.split.x(slice(0, 2)))).shape[1:])
        rights: dict[Right, Any] = {"query": lambda x: seen(access.query(x)), "aux": aux}
        view = Access(self.base.requires, spec=access.spec, shape=shape, device=access.device, rights=rights,
                      intercept=access.intercept, autocast=access.autocast)  # fmt: skip
        with blame(".base"):
            return Deeper(self.base.fit(view, home), seen)


class Deeper(Reconstructor):
    """The attack on releases with what deeper layers make of them."""

    def __init__(self, inner: Reconstructor, seen: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.seen, self.report = inner, seen, inner.report

    def forward(self, releases: Tensor) -> Tensor:
        return self.inner(self.seen(releases))


def together(r: Tensor, deeper: list[Tensor]) -> Tensor:
    """Releases (N, *shape) with activations of deeper layers as further channels (of tokens, entries); maps of another
    size are resized, and what has no places beside one that has is repeated at all of them."""
    if r.dim() == 2:
        return torch.cat([r, *(d.flatten(1) for d in deeper)], 1)
    axis = 2 if r.dim() == 3 else 1
    parts = [r]
    for d in deeper:
        if d.dim() == 2:
            d = d[:, None].expand(-1, r.shape[1], -1) if axis == 2 else d[:, :, None, None]
        if d.dim() != r.dim():
            raise UserError(
                f".layers: a layer gives {tuple(d.shape[1:])} beside a release {tuple(r.shape[1:])}; lower it"
            )
        parts.append(F.interpolate(d, r.shape[2:], mode="nearest") if axis == 1 else d)
    return torch.cat(parts, axis)
