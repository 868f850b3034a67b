"""The sum of all members' images whose weights held-out aux gives: members that err apart are better together."""

from __future__ import annotations

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.attacks.suite.lab import Lab

IMAGES = 64  # of held-out aux: a handful of weights needs no more, and searches are dear
PART = 8  # of them, whose pixels are multiplied together
RIDGE = 1e-5  # of the images' own power: members that agree share a weight


class Blend:
    """Stacked regression (Breiman 1996): releases -> Σ wᵢ · image of member i, clamped to [0, 1].

    The weights are the least squares on held-out aux, drawn a little to the member that is best there.
    """

    def __init__(self, lab: Lab) -> None:
        self.members = dict(lab.made)
        x, releases = (t[:IMAGES] for t in lab.pairs("held"))
        with torch.no_grad():
            rebuilt = [made(releases) for made in self.members.values()]
        count = len(rebuilt)
        gram = torch.zeros(count, count, dtype=torch.double, device=x.device)
        with_x = torch.zeros_like(gram[0])
        for truth, *images in zip(x.split(PART), *(r.split(PART) for r in rebuilt), strict=True):  # of large ones, few
            seen = torch.stack([image.double().flatten() for image in images], 1)
            gram += seen.T @ seen
            with_x += seen.T @ truth.double().flatten()
        best = torch.arange(count).to(x.device) == (gram.diagonal() - 2 * with_x).argmin()  # |x - image|^2 less |x|^2
        ridge = RIDGE * gram.diagonal().mean() * torch.eye(count).to(gram)
        short = with_x - gram @ best.to(gram)  # what the best member leaves, as the members see it
        self.weights = (torch.linalg.solve(gram + ridge, short) + best).float()
        self.report = {"weights": dict(zip(self.members, host.to_host(self.weights), strict=True))}

    @torch.no_grad()
    def __call__(self, releases: Tensor) -> Tensor:
        shares = zip(self.weights, self.members.values(), strict=True)
        return sum((weight * made(releases) for weight, made in shares), torch.zeros(())).clamp(0, 1)
