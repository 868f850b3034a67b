"""Permutation of patches: of the image where the device sends it raw, of the feature map elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from torch import Tensor

from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.places import Places
from splitpriv.defenses.token_shuffle import TokenShuffle, partial_order
from splitpriv.types import Count, Fraction, Shape, Spec


class PatchPermutation(TokenShuffle):
    """The patches of z, `patch` positions a side, change places: block scrambling (Tanaka 2018; Kiya et al. 2022;
    numbers of equations not at hand).

    What lies within a patch stays. With split=raw these are patches of the image.

    `order` fresh: another permutation for every release, which a cloud of convolutions has to bear; every adversary
    sees patches put back, as for `token_shuffle`. fixed: one for all, drawn from the seed, which a cloud learns
    together with all else; so does any decoder from queries, and whoever knows the device knows it. A share `share` of
    the patches moves. Tokens count as patches of one; a vector's entries, too.

    Open: the papers also rotate, flip and invert blocks, and adapt the network to a fixed key, which hides an image
    from those alone who can neither query nor see another pair.
    """

    strength: ClassVar[Mapping[str, str]] = {"share": "interval(0.1, 1.0)"}

    order: Tensor

    def __init__(self, *, patch: Count, share: Fraction, order: Literal["fresh", "fixed"]) -> None:
        super().__init__(share=share)
        self.patch, self.fixed = patch, order == "fixed"

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.places = Places(shape, self.patch)
        self._move()
        device = next(model.net.parameters()).device
        self.register_buffer("order", partial_order(1, self.places.count, self.moving, device)[0])

    def after_edge(self, z: Tensor) -> Tensor:
        return self.places.moved(z, self.order) if self.fixed else super().after_edge(z)

    def expected(self, z: Tensor) -> Tensor:
        return self.after_edge(z) if self.fixed else z

    def reading(self, own: Tensor, colludes: bool) -> Callable[[Tensor], Tensor]:
        return (lambda r: r) if self.fixed else super().reading(own, colludes)
