"""What every adversary makes of a release before anything else: no attack is fooled by an order or a division."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import UserError

Read = Callable[[Tensor], Tensor]


def hides(link: Defense) -> bool:
    """Whether a link says how its releases are read."""
    return type(link).reading is not Defense.reading


@torch.no_grad()
def sight(model: Defended, x: Tensor, colludes: bool = False) -> Read:
    """From releases (N, *shape) to what is attacked: what links divide or re-order is put together again, last first.

    x (n, C, H, W): images of the adversary's own, from whose releases, as if none of these links had hidden anything,
    it learns the rest of the chain, noise included. `colludes`: whether it holds all of several releases of z, whatever
    the chain assumes. Without such links releases stay as they are.
    """
    links = [link for _, link in model.defenses()]
    if not any(map(hides, links)):
        return lambda r: r
    reads: list[Read] = []
    z = model.features(x)
    for i, link in enumerate(links):
        z = link.expected(z)
        if hides(link):
            own = z
            for later in links[i + 1 :]:
                own = later.expected(own) if hides(later) else later.after_edge(own)
            read_by = link.reading(own, colludes)
            if not callable(read_by):
                raise UserError(f"defense: {type(link).__name__}.reading returns {read_by!r:.80}; return a function")
            reads.insert(0, read_by)

    def read(r: Tensor) -> Tensor:
        for step in reads:
            r = step(r)
        return r

    return read
