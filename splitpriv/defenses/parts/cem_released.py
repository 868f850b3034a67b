"""The cluster statistics and the loss that CEM's authors released."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from splitpriv.stats.kmeans import Clusters, Table

SHARE = 10 * 128 / 50_048  # boost · batch / N of the released CIFAR-10 run: how much of a variance a batch makes new


class ClusterLoss(nn.Module):
    """Spread of z around the nearest centroid of its class, one isotropic variance per cluster.

    Buffers: `centres` (C, K, D), `weight` (C, K), a cluster's share of its class, `variance` (C, K), `images` (). All
    are zero before the first refit, and the loss is then exactly zero. `compat` reproduces the released indexing: the
    r-th class present in a batch uses the weights and variances of the class of the r-th sample of the batch sorted
    by label. `boost` None: whatever makes `boost` batch / N the authors' SHARE. Not reproduced: after an empty cluster,
    the released code lists weights and variances of the others from the left and pads at the end; here an empty cluster
    has weight 0.
    """

    centres: Tensor
    weight: Tensor
    variance: Tensor
    images: Tensor

    def __init__(self, classes: int, clusters: int, dims: int, *, compat: bool, log_entropy: bool, floor: float,
                 threshold: float, boost: float | None, cap: float, offset: float) -> None:  # fmt: skip
        super().__init__()
        self.compat, self.log_entropy, self.floor, self.threshold = compat, log_entropy, floor, threshold
        self.boost, self.cap, self.offset = boost, cap, offset
        self.register_buffer("centres", torch.zeros(classes, clusters, dims))
        self.register_buffer("weight", torch.zeros(classes, clusters))
        self.register_buffer("variance", torch.zeros(classes, clusters))
        self.register_buffer("images", torch.zeros(()))

    def refit(self, table: Table, clusters: Clusters) -> None:
        """Store the statistics of a k-means on the features of one epoch."""
        nearest = clusters.member.argmax(2)[..., None].expand_as(table.points)
        spread = (table.points - clusters.centres.gather(1, nearest)).square().mean(2)
        self.centres.copy_(clusters.centres)
        self.variance.copy_((clusters.member * spread[..., None]).sum(1) / clusters.sizes.clamp(min=1))
        self.weight.copy_(clusters.sizes / clusters.sizes.sum(1, keepdim=True).clamp(min=1))
        self.images.copy_(table.total)

    def commit(self) -> None:
        """Nothing moves between two refits."""

    def forward(self, z: Tensor, y: Tensor, sigma: float) -> Tensor:
        """Mean over the classes present of sum_j w_j relu(log(v_j + floor) - log(threshold sigma^2 + floor))."""
        classes, clusters, _ = self.centres.shape
        with torch.no_grad():
            cell = y * clusters + torch.cdist(z[:, None], self.centres[y]).squeeze(1).argmin(1)
            member = (cell[:, None] == torch.arange(classes * clusters, device=z.device)).to(z.dtype)
            count = member.sum(0).view(classes, clusters)
            present = count.sum(1) > 0
            weight, variance = self.weight, self.variance
            if self.compat:
                rank = (present.cumsum(0) - 1).clamp(min=0)
                source = y.sort().values[rank]
                weight, variance = weight[source], variance[source]
            expected = weight * self.images / classes
            boost = SHARE * self.images / len(z) if self.boost is None else self.boost
            rho = boost * count / expected.clamp(min=torch.finfo(z.dtype).tiny)
            rho = torch.where(rho >= 1, self.cap, rho)
        spread = (z - self.centres.flatten(0, 1)[cell]).square().mean(1)
        fresh = (member * spread[:, None]).sum(0).view(classes, clusters) / count.clamp(min=1)
        v = rho * fresh + (1 - rho) * variance
        if self.log_entropy:
            term = relu((v + self.floor).log() - math.log(self.threshold * sigma**2 + self.floor))
        else:
            term = v + self.offset
        return (weight * term * (count > 0)).sum() / present.sum()
