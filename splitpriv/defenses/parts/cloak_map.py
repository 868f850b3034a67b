"""The noise map of Cloak: a mean and a standard deviation for every feature, what it knows of z, and its mask."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from splitpriv import host
from splitpriv.types import Shape

Reg = Literal["mean_sigma", "mean_sigma_sq", "gaussian_mi_bound"]
Granularity = Literal["element", "pixel"]
Orientation = Literal["code", "printed"]
FLOOR = 0.1  # of the mean standard deviation: what hardly varies in training is not sent bare


class NoiseMap(nn.Module):
    """r = mu + sigma eps with sigma = m + (M - m) sigmoid(2 rho), all of the shape of one z.

    The paper writes (1 + tanh rho)/2, which is the same number and in float32 exactly zero at its own start, rho = -10.
    With `relative`, M and m are in units of each feature's standard deviation. Running statistics of z are buffers:
    `mean`, `spread` (sum of squared deviations), `seen`, and the last `samples` features in `rows`.
    """

    def __init__(self, shape: Shape, *, max_scale: float, min_scale: float, relative: bool, rho_init: float,
                 samples: int) -> None:  # fmt: skip
        super().__init__()
        self.max_scale, self.min_scale, self.relative = max_scale, min_scale, relative
        self.rho = nn.Parameter(torch.full(shape, rho_init))
        self.mu = nn.Parameter(torch.zeros(shape))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.zeros(shape))
        self.register_buffer("rows", torch.zeros(samples, torch.Size(shape).numel()))

    seen: Tensor
    mean: Tensor
    spread: Tensor
    rows: Tensor

    @torch.no_grad()
    def observe(self, z: Tensor) -> None:
        """Take a batch (N, ...) of noise-free features into the statistics."""
        total, delta = self.seen + len(z), z.mean(0) - self.mean
        self.spread.add_((z - z.mean(0)).square().sum(0) + delta.square() * (self.seen * len(z) / total))
        self.mean.add_(delta * (len(z) / total))
        last = z.flatten(1)[-len(self.rows) :]
        place = (self.seen + torch.arange(len(last), device=z.device)) % len(self.rows)
        self.rows.index_copy_(0, place, last)
        self.seen.copy_(total)

    @property
    def std(self) -> Tensor:
        """Standard deviation of every feature of z, at least a tenth of their mean; 1 before anything was observed."""
        std = (self.spread / self.seen.clamp(min=1)).sqrt()
        return torch.where(self.seen > 0, torch.maximum(std, FLOOR * std.mean()), 1.0)

    @property
    def scale(self) -> Tensor:
        """sigma in units of M: between m / M and 1."""
        least = self.min_scale / self.max_scale
        return least + (1 - least) * torch.sigmoid(2 * self.rho)

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of the noise on every feature, in units of z."""
        return self.max_scale * self.scale * (self.std if self.relative else 1.0)

    def regulariser(self, kind: Reg) -> Tensor:
        """What the noise term of the loss is worth; it falls as sigma grows.

        mean_sigma: -log mean sigma, as in code. mean_sigma_sq: -log mean sigma^2, Equation 8. gaussian_mi_bound:
        the bound before its relaxation, in nats per feature. Under `relative`, sigma counts in units of the features.
        """
        if kind == "gaussian_mi_bound":
            return (self.information() / self.rho.numel()).to(self.rho.dtype)
        sigma = self.max_scale * self.scale
        return -(sigma if kind == "mean_sigma" else sigma.square()).mean().log()

    def information(self) -> Tensor:
        """1/2 log|I + Sigma^-1/2 Cov(z) Sigma^-1/2| in nats, at least I(z; z + r), for the covariance of `rows`.

        Computed over features or over rows, whichever are fewer; the determinant is the same. The covariance of fewer
        rows than features has their rank, so the value is then that of a sample. Float64.
        """
        samples, features = self.rows.shape
        count = self.seen.clamp(max=samples).double()
        known = (torch.arange(samples, device=self.rows.device) < count).double()[:, None]
        rows = self.rows.double()
        centred = (rows - (rows * known).sum(0) / count.clamp(min=1)) * known
        scaled = centred / (count - 1).clamp(min=1).sqrt() / self.sigma.double().flatten()
        if features <= samples:
            return _logdet(scaled.mT @ scaled)
        level = known / count.clamp(min=1).sqrt()  # centring leaves this direction out: keep it clear of rounding
        spare = scaled.square().sum()
        return _logdet(scaled @ scaled.mT + spare * level @ level.mT) - 0.5 * spare.log1p()

    def facts(self) -> dict[str, float]:
        """The size of sigma, alone and against z; the Gaussian bound, nats; how much of sigma is below shares of M."""
        facts = {"sigma": self.sigma.mean(), "sigma_by_std": (self.sigma / self.std).mean(),
                 "information": self.information().float()}  # fmt: skip
        facts |= {f"below_{share}M": (self.scale < share).float().mean() for share in (0.1, 0.5, 0.9)}
        return dict(zip(facts, host.to_host(torch.stack(list(facts.values()))), strict=True))

    def draw(self, z: Tensor, draws: int | None) -> Tensor:
        """Standard normal noise for a batch (N, ...): `draws` tensors dealt out to the images; None: own ones."""
        count = z.shape[0] if draws is None else min(draws, len(z))
        noise = torch.randn(count, *z.shape[1:], device=z.device, dtype=z.dtype)
        if draws is None or count == len(z):
            return noise
        return noise[torch.arange(len(z), device=z.device) % count]

    @torch.no_grad()
    def keep(self, threshold: float, ratio: float | None, granularity: Granularity, orientation: Orientation) -> Tensor:
        """True where a feature passes: sigma below `threshold` M, or all but the share `ratio` of largest.

        `pixel` decides by the mean over the channels of an image, or over the values of a token. `printed` is the
        paper's sentence, which keeps the features of large sigma; its authors' code keeps those of small.
        """
        score = self.scale.double() if granularity == "pixel" else self.rho.double()  # rho where sigma is M to rounding
        if granularity == "pixel" and score.dim() > 1:
            score = score.mean(0 if score.dim() == 3 else -1, keepdim=True)
        if ratio is not None:
            order = score.flatten().argsort(stable=True, descending=orientation == "printed")
            keep = order.argsort().view_as(score) < round((1 - ratio) * score.numel())
        else:
            small = (self.scale if granularity == "element" else score) < threshold
            keep = small if orientation == "code" else ~small
        return keep.expand_as(self.rho).clone()


def _logdet(gram: Tensor) -> Tensor:
    return 0.5 * torch.linalg.slogdet(gram + torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).logabsdet
