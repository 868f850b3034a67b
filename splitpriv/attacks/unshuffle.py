"""Un-shuffling: tokens are put where a first reconstruction says that they belong, and decoded again."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv.attacks.base import Access, Attack, Aux, Reconstructor, Right, mean_of
from splitpriv.attacks.training import inner_home
from splitpriv.defenses.parts.places import Places, aligned
from splitpriv.types import Count, Shape, UserError, blame


class Unshuffle(Attack):
    """`base`, an attack from queries and aux, `turns` times more, each time on tokens in a better order.

    What every adversary sees has its tokens in the order that the tokens themselves suggest (`parts/sight.py`). Here
    the reconstruction so far is sent through the device's edge, and each token of the release goes where the nearest of
    those tokens lies, one to one; a new `base` learns from releases of aux put in order by the same. DRAG (Lei et al.,
    ICML 2025) re-orders once, by a predictor of positions, as all attacks here do. `patch`: positions of a side that
    move together in a feature map.
    """

    def __init__(self, *, base: Callable[[], Attack], turns: Count, patch: Count) -> None:
        with blame(".base"):
            self.base = base()
        held = self.base.requires <= {"query", "aux"}
        if self.base.recovers != "image" or self.base.observe != "release" or not held:
            raise UserError(".base: must rebuild images from queries and aux alone; use decoder")
        self.turns, self.patch, self.draws = turns, patch, self.base.draws

    @property
    def requires(self) -> frozenset[Right]:  # type: ignore[override]
        return self.base.requires | {"clean"}

    def validate(self, shape: Shape, stages: int) -> None:
        Places(shape, self.patch if len(shape) == 3 else 1)

    def fit(self, access: Access, home: Path) -> Chain:
        places = Places(access.shape, self.patch if len(access.shape) == 3 else 1)
        with blame(".base"):
            chain = Chain(access, places, self.draws, [self.base.fit(access, inner_home(home, "turn0"))])
            again = copy(self.base)
            again.draws = 1  # of what is averaged already, as victims' releases are, before it is put in order
            for turn in range(1, self.turns + 1):
                view = chain.view(again)
                chain.append(again.fit(view, inner_home(home, f"turn{turn}")))
        return chain


class Chain(Reconstructor):
    """Reconstructors, each of which sees tokens in the order that the one before it suggests."""

    def __init__(self, access: Access, places: Places, draws: int, links: list[Reconstructor]) -> None:
        super().__init__()
        self.access, self.places, self.draws, self.links = access, places, draws, links

    def append(self, link: Reconstructor) -> None:
        """One more."""
        self.links.append(link)

    @property
    def report(self) -> dict[str, Any]:  # type: ignore[override]
        """The last one's; converged if all are."""
        told = [link.report for link in self.links]
        return {**told[-1], "converged": all(report.get("converged", True) for report in told)}

    @torch.no_grad()
    def ordered(self, releases: Tensor, turns: int) -> Tensor:
        """Releases with their tokens where the reconstruction after so many turns has them."""
        r, tokens = releases, self.places.tokens(releases)
        for link in list(self.links)[:turns]:
            like = self.places.tokens(self.access.clean(link(r)).float())
            r = self.places.moved(releases, aligned(tokens, like))
        return r

    def view(self, base: Attack) -> Access:
        """What the next one holds."""
        access, turns = self.access, len(self.links)

        def query(x: Tensor) -> Tensor:
            return self.ordered(mean_of(lambda: access.query(x), self.draws), turns)

        aux = Aux(access.aux.split, lambda x: x, query, cacheable=False)
        rights: dict[Right, Any] = {"query": query, "aux": aux}
        return Access(base.requires, spec=access.spec, shape=access.shape, device=access.device, rights=rights,
                      intercept=access.intercept, autocast=access.autocast)  # fmt: skip

    def forward(self, releases: Tensor) -> Tensor:
        return self.links[-1](self.ordered(releases, len(self.links) - 1))
