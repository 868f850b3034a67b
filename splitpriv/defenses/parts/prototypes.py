"""Prototypes of classes that stand for an epoch, and the pull towards them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from splitpriv.stats.kmeans import Clusters, Table


class PrototypeLoss(nn.Module):
    """Spread of z about the nearest prototype of its class, in units of that prototype's own spread.

    Buffers: `centres` (C, K, D), `variance` (C, K, D), `weight` (C, K), a prototype's share of its class, `images` ().
    All are zero before the first refit, and the loss is then exactly zero.
    """

    centres: Tensor
    variance: Tensor
    weight: Tensor
    images: Tensor

    def __init__(self, classes: int, clusters: int, dims: int, *, uncertainty: bool) -> None:
        super().__init__()
        self.uncertainty = uncertainty
        self.register_buffer("centres", torch.zeros(classes, clusters, dims))
        self.register_buffer("variance", torch.zeros(classes, clusters, dims))
        self.register_buffer("weight", torch.zeros(classes, clusters))
        self.register_buffer("images", torch.zeros(()))

    def refit(self, table: Table, clusters: Clusters) -> None:
        """Store the statistics of a k-means on the features of one epoch."""
        sizes = clusters.sizes.clamp(min=1)[..., None]
        squares = clusters.member.mT @ table.points.square() / sizes
        means = clusters.member.mT @ table.points / sizes
        self.centres.copy_(clusters.centres)
        self.variance.copy_((squares - means.square()).clamp(min=0))
        self.weight.copy_(clusters.sizes / clusters.sizes.sum(1, keepdim=True).clamp(min=1))
        self.images.copy_(table.total)

    def commit(self) -> None:
        """Nothing moves between two refits."""

    def forward(self, z: Tensor, y: Tensor, sigma: float) -> Tensor:
        """Mean over images of c_i·½ mean_d (z_d − m_d)²/(v_d + σ²), m and v of the likeliest, c_i how certain."""
        noise = sigma**2
        centres, spread = self.centres[y], self.variance[y] + noise  # (N, K, D)
        distance = (z[:, None] - centres).square() / spread
        with torch.no_grad():
            score = self.weight[y].clamp(min=1e-12).log() - 0.5 * (distance + spread.log()).sum(2)
            share = score.softmax(1)
            certain = torch.ones_like(share[:, 0])
            if self.uncertainty and share.shape[1] > 1:
                certain = 1 + (share * share.clamp(min=1e-12).log()).sum(1) / math.log(share.shape[1])
            places = torch.arange(share.shape[1], device=z.device)
            nearest = (score.argmax(1)[:, None] == places).to(z.dtype)
            known = (self.images > 0).to(z.dtype)
        return known * (certain * 0.5 * (nearest * distance.mean(2)).sum(1)).mean()
