"""What a release tells linearly: the image that nets see in place of one whose entries lie in no order of places."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv import host
from splitpriv.attacks.suite.lab import CHUNK, Lab, batch_of, mse
from splitpriv.store import state
from splitpriv.types import Shape

SIDE = 32  # pixels a side of the image that is read, at most
ENTRIES = 2**16  # of a release, above which nothing is read: what is regressed on would fill a memory
LARGEST = 2**26  # numbers in the map from releases to images; a smaller image is read where it would have more
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # times the mean square of what is regressed on
IMAGES = 2048  # of aux that are regressed on; as many moved ones beside each of them where that is no dearer
BETTER = 0.6  # share of the error by which nets that see it must be ahead: as where places are mixed, and seldom else


class Readout(nn.Module):
    """Releases (N, *shape) -> images (N, C, h, w), of `SIDE` pixels a side at most: a ridge regression on aux.

    It knows nothing of places, so that no order of a release's entries and no mixture of them makes it worse, as any
    makes convolutions. What it says is linear (Hoerl and Kennard 1970), and only where nets begin.
    """

    weight: Tensor
    centre: Tensor
    mean: Tensor

    def __init__(self, scale: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.scale, self.shape = scale, shape
        for name in ("weight", "centre", "mean"):
            self.register_buffer(name, torch.zeros(0), persistent=False)  # made anew sooner than saved with every state

    def forward(self, releases: Tensor) -> Tensor:
        return self.step(self.scale(releases) - self.centre) + self.mean.view(self.shape)

    def step(self, change: Tensor) -> Tensor:
        """By what the image changes with a release in units of its spread, (N, *shape)."""
        return (change.flatten(1) @ self.weight).view(-1, *self.shape)

    def fit(self, images: Tensor, releases: Tensor, held: tuple[Tensor, Tensor]) -> float:
        """Regress images (N, C, H, W) on their releases by the penalty that does best on `held` ones; its MSE there."""
        x, told = self._small(images).flatten(1), self.scale(releases)
        self.centre, self.mean = told.mean(0), x.mean(0)
        told, x = (told - self.centre).flatten(1), x - self.mean
        wide = len(told) < told.shape[1]  # fewer images than entries: by the images' products
        power = ((told @ told.T) if wide else (told.T @ told)).double()
        power.diagonal().add_(torch.finfo(told.dtype).tiny)
        right = x if wide else told.T @ x
        best = math.inf
        for penalty in PENALTIES:
            ridged = power + penalty * power.diagonal().mean() * torch.eye(len(power), device=power.device)
            solved = torch.cholesky_solve(right.double(), torch.linalg.cholesky(ridged)).to(x.dtype)
            kept, self.weight = self.weight, told.T @ solved if wide else solved
            if (error := self._error(*held)) < best:
                best = error
            else:
                self.weight = kept
        return best

    def _error(self, images: Tensor, releases: Tensor) -> float:
        read = F.interpolate(self(releases), images.shape[2:], mode="bilinear").clamp(0, 1)
        return host.to_host(mse(read, images)[None])[0]

    def _small(self, images: Tensor) -> Tensor:
        _, height, width = self.shape
        return F.adaptive_avg_pool2d(images, (height, width))


@torch.no_grad()
def read(lab: Lab, error: float) -> Readout | None:
    """What nets may see in place of releases, if a regression on the aux that is measured anyway leaves less than
    `error`, theirs: what says so little to nets that learned for a while lies in no order for them."""
    channels, *size = lab.access.spec.image
    entries, scale = math.prod(lab.access.shape), lab.scale
    if entries > ENTRIES:
        return None
    sides = [min(side, SIDE) for side in size]
    while math.prod(sides) * channels * entries > LARGEST and min(sides) > 1:
        sides = [side // 2 for side in sides]
    found, held = Readout(scale, (channels, *sides)), lab.pairs("held")
    seen, told = map(torch.cat, zip(*lab.measured, strict=True))
    if not found.fit(seen, told, held) < error:
        return None
    state.seed_epoch(f"{lab.home.name} readout", 0)
    batches = -(-IMAGES // CHUNK) * (4 if entries <= 2 * IMAGES else 1)
    images = [batch_of(lab, CHUNK, "learn", "fuse") for _ in range(batches)]
    found.fit(torch.cat(images), torch.cat([lab.release(x) for x in images]), held)
    return found
