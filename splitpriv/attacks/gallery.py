"""The adversary's own images as the prior: what he has seen weighs by how well it explains the release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.attacks.base import Access, Attack, Reconstructor, Right
from splitpriv.attacks.matching import Likelihood
from splitpriv.store import state
from splitpriv.types import Count, Positive, UserError

ROWS = 256  # releases that are compared with the whole gallery at once


class Gallery(Attack):
    """E[x | r] for images that are equally likely to be any of aux: their mean, weighed by exp(-|r - E r_k|^2 / 2 s^2).

    s^2 is `width` times the variance that releases of aux show around their expected one. With width 1, and images that
    all come from a known library, that is the best of all attacks under Gaussian noise; elsewhere it is a regression in
    the space of releases, towards the nearest image of aux as the width falls. Of several `width` the adversary takes
    the one that rebuilds `tune` images of aux best from the others. At most `images` of aux are looked at.
    """

    requires: frozenset[Right] = frozenset({"query", "edge", "expected", "aux"})

    def __init__(self, *, width: list[Positive], images: Count, tune: Count, draws: Count) -> None:
        if not width:
            raise UserError(".width: is empty; give at least one, as in [1.0]")
        self.width, self.images, self.tune, self.draws = width, images, tune, draws

    def fit(self, access: Access, home: Path) -> Weighed:
        state.seed_epoch(home.name, 0)
        order = torch.randperm(len(access.aux), device=access.device)[: self.images]
        images = torch.cat([access.aux.split.x(part) for part in order.split(ROWS)])
        with torch.no_grad():
            shown = torch.cat([access.expected(part).flatten(1).float() for part in images.split(ROWS)])
        count = min(self.tune, len(order))
        chosen = order[:count]
        power = Likelihood(access, chosen, self.draws).power
        weighed = Weighed(images, shown, self.width[0] * power)
        if len(self.width) > 1 and len(order) > 1:
            releases = torch.cat([access.aux.release(part, self.draws).float() for part in chosen.split(ROWS)])
            errors = []
            for width in self.width:
                weighed.power = width * power
                errors.append((weighed.rebuild(releases, apart=True) - images[:count]).square().mean())
            told = host.to_host(torch.stack(errors))
            best = self.width[told.index(min(told))]
            weighed.power = best * power
            weighed.report |= {"width": best, "tuning_mse": told}
        return weighed


class Weighed(Reconstructor):
    """Means of `images` (K, C, H, W) by how near their releases `shown` (K, D) lie, under noise of variance `power`."""

    def __init__(self, images: Tensor, shown: Tensor, power: float) -> None:
        super().__init__()
        self.images, self.power, self.centre = images, power, shown.mean(0)
        self.shown = shown - self.centre  # distances by products lose digits to what all have in common
        self.report: dict[str, Any] = {"converged": True}

    def rebuild(self, releases: Tensor, apart: bool = False) -> Tensor:
        """Images of releases (N, ...); with `apart`, of the first N images of the gallery, each from the others."""
        flat = self.images.flatten(1)
        means, start = [], 0
        for part in releases.flatten(1).float().split(ROWS):
            far = torch.cdist(part - self.centre, self.shown).square() / (2 * self.power)
            if apart:
                own = torch.arange(start, start + len(part), device=far.device)
                far = far.scatter(1, own[:, None], torch.inf)
            means.append((-far).softmax(1) @ flat)
            start += len(part)
        return torch.cat(means).view(-1, *self.images.shape[1:])

    @torch.no_grad()
    def forward(self, releases: Tensor) -> Tensor:
        return self.rebuild(releases)
