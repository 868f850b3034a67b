"""What searches under a prior share: the likelihood of the noise, a strength chosen on aux, batches that are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv import host, progress
from splitpriv.attacks.base import Access, Reconstructor
from splitpriv.attacks.priors import noise_power
from splitpriv.store import state
from splitpriv.types import UserError

LEAST = 1e-4  # of the grey image's distance: a noise below it counts as that much, so that exact releases can be met


class Likelihood:
    """-log p(r | x) per image, nats but for a constant, of releases r (N, ...) of images x (N, C, H, W).

    The noise counts as Gaussian of the variance that releases of aux show around their expected one.
    """

    def __init__(self, access: Access, index: Tensor, draws: int) -> None:
        self.access = access
        grey = torch.full((1, *access.spec.image), 0.5, device=access.device)
        with torch.no_grad():
            far = (access.aux.release(index, draws).float() - access.expected(grey)).square().mean()
        self.power = max(noise_power(access, index, draws), LEAST * host.to_host(far[None])[0], 1e-12)

    def __call__(self, x: Tensor, r: Tensor) -> Tensor:
        return (self.access.expected(x) - r).square().flatten(1).sum(1) / (2 * self.power)


Descend = Callable[[Tensor, float], tuple[Tensor, list[Tensor]]]  # releases, strength -> images, losses along the way


class Matching(Reconstructor):
    """Searches one batch of victims after the other; a finished batch is kept in `home` and not searched again.

    `descend` searches with the strength of the prior that rebuilds `tune` (images, their releases) best.
    """

    def __init__(self, label: str, descend: Descend, strengths: Sequence[float], tune: tuple[Tensor, Tensor],
                 home: Path, batch: int, tolerance: float) -> None:  # fmt: skip
        super().__init__()
        self.label, self.descend, self.home, self.batch, self.tolerance = label, descend, home, batch, tolerance
        self.strength, self._batches, self._curves = strengths[0], 0, list[Tensor]()
        self.report: dict[str, Any] = {}
        if len(strengths) > 1:
            x, r = tune
            errors = []
            for strength in strengths:
                state.seed_epoch(home.name, 0)
                errors.append((descend(r, strength)[0] - x).square().mean())
            scores = host.to_host(torch.stack(errors))
            self.strength = strengths[scores.index(min(scores))]
            self.report = {"strength": self.strength, "tuning_mse": scores}

    def forward(self, releases: Tensor) -> Tensor:
        parts = releases.split(self.batch)
        with progress.bar(self.label, len(parts), unit="batch") as bar:
            images = []
            for part in parts:
                images.append(self._kept(part.float()))
                bar.update()
        self._summarise()
        return torch.cat(images)

    def _kept(self, r: Tensor) -> Tensor:
        self._batches += 1
        path = self.home / f"batch{self._batches}.pt"
        _, kept = state.load_state(path, {})
        if kept is None:
            state.seed_epoch(self.home.name, self._batches)
            images, curve = self.descend(r, self.strength)
            kept = images, torch.stack([value.detach() for value in curve], 1)  # (N, points)
            state.save_state(path, 1, {}, kept)
        self._curves.append(kept[1].to(r.device))
        return kept[0].to(r.device)

    def _summarise(self) -> None:
        curve = host.to_host(torch.cat(self._curves).mean(0))
        if not all(map(math.isfinite, curve)):
            raise UserError(f".lr: the loss became {curve[-1]}; lower it")
        late = curve[3 * (len(curve) - 1) // 4]
        settled = late - curve[-1] <= self.tolerance * max(abs(late), self.tolerance * abs(curve[0]))
        self.report = {**self.report, "feature_loss": curve, "converged": settled}
