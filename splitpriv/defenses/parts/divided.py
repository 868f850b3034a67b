"""One z in two releases, which lie side by side in one tensor; whoever sees one of them sees a half of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import Shape, Spec, UserError

Holds = Literal["first", "second", "both"]


class Join(nn.Module):
    """The cloud's first act: two releases side by side in `axis` -> z; what is z already, of that `width`, stays."""

    def __init__(self, unite: Callable[[Tensor, Tensor], Tensor], axis: int, width: int) -> None:
        super().__init__()
        self.unite, self.axis, self.width = unite, axis, width

    def forward(self, r: Tensor) -> Tensor:
        return r if r.shape[self.axis] == self.width else self.unite(*r.chunk(2, self.axis))


class Divided(Defense):
    """What defences by two releases share: `divide` z into two of its shape, and `unite` them in the cloud.

    `holds`: which of them the adversary sees. Unless both, the row wants an attack by colluders, too.
    """

    def __init__(self, holds: Holds) -> None:
        super().__init__()
        self.holds = holds

    @property
    def adaptive(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset() if self.holds == "both" else frozenset({"collusion"})

    def validate(self, chain: Mapping[str, Defense]) -> None:
        phased = [name for name, link in chain.items() if link.phases]
        if phased:
            raise UserError(f": {phased[0]} trains in phases, for which the cloud must read z as the edge makes it; "
                            "leave one of the two out")  # fmt: skip

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.axis = 2 if len(shape) == 2 else 1  # of tokens (T, D) their entries, so that the grid stays
        join = Join(self.unite, self.axis, shape[self.axis - 1])
        model.net.cloud = nn.Sequential(OrderedDict([("join", join), *model.net.cloud.named_children()]))

    def divide(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Two releases of the shape of z."""
        raise NotImplementedError

    def unite(self, first: Tensor, second: Tensor) -> Tensor:
        """What the cloud makes of them."""
        raise NotImplementedError

    def after_edge(self, z: Tensor) -> Tensor:
        return torch.cat(self.divide(z), self.axis)

    def reading(self, own: Tensor, colludes: bool) -> Callable[[Tensor], Tensor]:
        if colludes or self.holds == "both":
            return self.together
        return lambda r: r.chunk(2, self.axis)[self.holds == "second"]

    def together(self, r: Tensor) -> Tensor:
        """What colluders make of both."""
        return r
