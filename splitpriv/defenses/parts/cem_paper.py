"""The Gaussian-mixture loss that CEM's paper describes (equations 5 to 7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitpriv.stats.bounds import mixture_information
from splitpriv.stats.kmeans import Clusters, Table
from splitpriv.stats.mixture import Covariance, fit
from splitpriv.types import UserError

LARGEST = 2**30  # entries of all full covariances together: 4 GiB


class MixtureLoss(nn.Module):
    """Upper bound on I(x; z) for noise-free z that is a mixture of K components per class.

    Buffers: `centres` (C, K, D), `weight` (C, K), which sum to one over everything, `cov` (C K, D, D) or (C K, D),
    `images` (), N in the paper, the training images. Before the first refit the loss is exactly zero.

    Where the paper leaves a choice: equation 5 comes first, and its new weight stands in equation 6, so that the
    coefficient n_j / (pi_j N) never exceeds 1 and Sigma_j stays a covariance; Delta Sigma_j is taken around the
    fitted mean, divided by n_j; z is assigned to the nearest mean of any class (Algorithm 1, line 9); the mixture is
    fitted to noise-free z, and Sigma_p = sigma^2 I enters equation 7 alone. Of the loss, only the determinants carry
    a gradient: weights come from counts.
    """

    centres: Tensor
    weight: Tensor
    cov: Tensor
    images: Tensor

    def __init__(self, classes: int, clusters: int, dims: int, *, covariance: Covariance, iterations: int,
                 jitter: float) -> None:  # fmt: skip
        super().__init__()
        shape = (classes * clusters, dims) + ((dims,) if covariance == "full" else ())
        if (entries := torch.Size(shape).numel()) > LARGEST:
            raise UserError(f"defense.cem.covariance: {shape[0]} full covariances of {dims} values need "
                            f"{entries / 2**28:.0f} GiB; use diagonal")  # fmt: skip
        self.covariance, self.iterations, self.jitter = covariance, iterations, jitter
        self._next: tuple[Tensor, Tensor] | None = None
        self.register_buffer("centres", torch.zeros(classes, clusters, dims))
        self.register_buffer("weight", torch.zeros(classes, clusters))
        self.register_buffer("cov", torch.zeros(shape))
        self.register_buffer("images", torch.zeros(()))

    def refit(self, table: Table, clusters: Clusters) -> None:
        """Fit the mixture to the features of one epoch by expectation-maximisation, started at their k-means."""
        classes, rows, k = clusters.member.shape
        share = torch.einsum("cmk,cd->cmdk", clusters.member, torch.eye(classes).to(clusters.member))
        share = share.reshape(classes * rows, classes * k)  # a point starts in one cluster of its own class
        mixture = fit(table.points.flatten(0, 1), share, clusters.centres.flatten(0, 1), self.covariance,
                      self.iterations, self.jitter)  # fmt: skip
        self.centres.copy_(mixture.mean.view_as(self.centres))
        self.weight.copy_(mixture.weight.view_as(self.weight))
        self.cov.copy_(mixture.cov)
        self.images.copy_(table.total)
        self._next = None

    def commit(self) -> None:
        """Keep the weights and covariances that the last step moved (online updates, equations 5 and 6)."""
        if self._next is not None:
            self.weight.copy_(self._next[0].view_as(self.weight))
            self.cov.copy_(self._next[1])
            self._next = None

    def forward(self, z: Tensor, y: Tensor, sigma: float) -> Tensor:
        """Equation 7, sum_j pi_j (-log pi_j + 1/2 log |Sigma_j + Sigma_p| / |Sigma_p|), in nats."""
        weight, cov = self.moved(z)
        fitted = self.images > 0
        self._next = torch.where(fitted, weight, self.weight.flatten()), torch.where(fitted, cov, self.cov).detach()
        return torch.where(fitted, mixture_information(weight, cov, sigma), 0.0)

    def moved(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (M,) and covariances after the batch z (n, D): equations 5 and 6."""
        means, images = self.centres.flatten(0, 1), self.images.clamp(min=len(z))
        with torch.no_grad():
            own = torch.cdist(z, means, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
            member = (own[:, None] == torch.arange(len(means), device=z.device)).to(z.dtype)
            count = member.sum(0)
            weight = (self.weight.flatten() * (images - len(z)) + count) / images
            rate = count / (weight * images).clamp(min=torch.finfo(z.dtype).tiny) * (self.images > 0)
            portion = (member / count.clamp(min=1)).mT
        d = z - means[own]
        if self.covariance == "full":
            fresh, rate = (portion[..., None] * d).mT @ d, rate[:, None, None]
        else:
            fresh, rate = portion @ d.square(), rate[:, None]
        return weight, (1 - rate) * self.cov + rate * fresh
