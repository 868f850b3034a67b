"""An attack: of the adversary's own images, the one whose release is nearest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv.attacks.base import Access, Attack, Reconstructor, Right
from splitpriv.store import state
from splitpriv.types import Count


class Nearest(Attack):
    """Answers a release with the mean of the `neighbours` images of aux whose releases lie nearest to it."""

    requires: frozenset[Right] = frozenset({"query", "aux"})

    def __init__(self, *, neighbours: Count, draws: Count) -> None:
        self.neighbours, self.draws = neighbours, draws

    def fit(self, access: Access, home: Path) -> Neighbours:
        state.seed_epoch(home.name, 0)  # the same key draws the same
        index = torch.arange(len(access.aux), device=access.device)
        images = access.aux.split.x(index)
        return Neighbours(images, access.aux.release(index, self.draws).flatten(1).float(), self.neighbours)


class Neighbours(Reconstructor):
    """Images (K, C, H, W) and their releases (K, D), among which the nearest are sought."""

    def __init__(self, images: Tensor, releases: Tensor, count: int) -> None:
        super().__init__()
        self.images, self.releases, self.count = images, releases, min(count, len(images))
        self.report: dict[str, Any] = {"converged": True}  # there is nothing to train longer

    @torch.no_grad()
    def forward(self, releases: Tensor) -> Tensor:
        far = torch.cdist(releases.flatten(1).float(), self.releases)
        return self.images[far.topk(self.count, dim=1, largest=False).indices].mean(1)
