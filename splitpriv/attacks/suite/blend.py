"""The sum of all members' images whose weights held-out aux gives: members that err apart are better together."""

from __future__ import annotations

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.attacks.suite.lab import Lab

IMAGES = 64  # of held-out aux: a handful of weights needs no more, and searches are dear
RIDGE = 1e-5  # of the images' own power: members that agree share a weight


class Blend:
    """Stacked regression (Breiman 1996): releases -> Σ wᵢ · image of member i, clamped to [0, 1].

    The weights are the least squares on held-out aux, drawn a little to the member that is best there.
    """

    def __init__(self, lab: Lab) -> None:
        self.members = dict(lab.made)
        x, releases = (t[:IMAGES] for t in lab.pairs("held"))
        seen = self._seen(releases)
        gaps = x.double().flatten()[:, None] - seen
        gram, count = seen.T @ seen, seen.shape[1]
        best = torch.arange(count).to(seen.device) == gaps.square().sum(0).argmin()
        ridge = RIDGE * gram.diagonal().mean() * torch.eye(count).to(gram)
        self.weights = (torch.linalg.solve(gram + ridge, seen.T @ gaps @ best.to(gram)) + best).float()
        self.report = {"weights": dict(zip(self.members, host.to_host(self.weights), strict=True))}

    @torch.no_grad()
    def _seen(self, releases: Tensor) -> Tensor:
        """What the members make of releases, (pixels of all images, members)."""
        return torch.stack([made(releases).double().flatten() for made in self.members.values()], 1)

    @torch.no_grad()
    def __call__(self, releases: Tensor) -> Tensor:
        images = torch.stack([made(releases) for made in self.members.values()], -1)
        return (images @ self.weights).clamp(0, 1)
