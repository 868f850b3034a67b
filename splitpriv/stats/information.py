"""How much does a release tell about the image? Three estimates of I(x; z), in nats.

The k-NN estimate is for comparisons only; the Gaussian value on held-out signals lies above I(x; z), the learned one
below.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.types import Count, Positive

ROWS = 1024  # of a distance matrix that are held at once
SHRINK = (0.0, 0.03, 0.1, 0.3, 0.6, 1.0)  # shares of a covariance's diagonal that are tried
JITTER = 1e-10  # standard deviation; equal rows would be at distance 0, whose logarithm is infinite


class Loss(NamedTuple):
    """`nats`: the estimate of I(x; z); `own`: of I(x; x), from the same rows; `percent`: 100 (1 - nats / own)."""

    nats: float
    own: float
    percent: float


def knn_divergence(p: Tensor, q: Tensor, *, k: int, norm: float = 2.0) -> float:
    """KL(p||q) in nats from samples p (N, D) and q (M, D), by the distances of p to the k-th neighbours in each.

    Wang, Kulkarni & Verdú 2009: D mean(log(nu / rho)) + log(M / (N - 1)), rho within p without the point itself, nu in
    q. `norm` 2 is ITE's BDKL_KnnK, `math.inf` that of NPEET. Rows of p that are equal k + 1 times give infinity.
    """
    p, q = p.double(), q.double()
    logs = []
    for part in p.split(ROWS):
        rho, nu = (_nearest(part, to, among, norm) for to, among in ((p, k + 1), (q, k)))
        logs.append((nu / rho).log())
    return p.shape[1] * float(torch.cat(logs).mean()) + math.log(len(q) / (len(p) - 1))


def _nearest(rows: Tensor, to: Tensor, k: int, norm: float) -> Tensor:
    # not by a matrix product: that cancels where points are near, which is where the estimate looks
    distance = torch.cdist(rows, to, norm, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.topk(k, largest=False).values[:, -1]


def knn_information(x: Tensor, z: Tensor, *, k: int, norm: float = 2.0, seed: int = 0, channels: bool = False) -> float:
    """I(x; z) in nats of N pairs x (N, ...), z (N, ...) as KL(joint || product), as ITE's MIShannon_DKL computes it.

    The first half is the joint sample; the second, x and z permuted apart, that of the product. `seed` fixes the two
    permutations: compare only values of one seed and one N. With `channels`, the mean over the images' channels, each
    on its own (Cloak). Needs N > 2k + 1.

    An order of releases, not an amount: far too low in many dimensions (Gaussian, d = 200: 15 of 249 nats), too high
    where data fill few of theirs (above the Gaussian bound on MNIST), and it depends on the scales of x and z.
    """
    if len(x) // 2 <= k:
        raise ValueError(f"{len(x)} pairs are too few for k={k}: at least {2 * k + 2} are needed")
    if channels:
        planes = zip(x.unbind(1), z.unbind(1), strict=True)
        return math.fsum(knn_information(a, b, k=k, norm=norm, seed=seed) for a, b in planes) / x.shape[1]
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randperm(len(x) // 2, generator=generator).to(x.device) for _ in range(2))
    a, b = (_spread(v, generator) for v in (x, z))
    half = len(x) // 2
    product = torch.cat([a[half:][first], b[half:][second]], 1)
    return knn_divergence(torch.cat([a, b], 1)[:half], product, k=k, norm=norm)


def _spread(v: Tensor, generator: torch.Generator) -> Tensor:
    flat = v.flatten(1).double()
    return flat + JITTER * torch.randn(flat.shape, generator=generator, dtype=torch.float64).to(flat.device)


def mi_loss(x: Tensor, release: Tensor, *, k: int, norm: float = 2.0, seed: int = 0) -> Loss:
    """Cloak's "loss of mutual information", 100 (1 - I(x; z) / I(x; x)) percent, of images x (N, C, H, W).

    A release shaped like the image is compared channel by channel. A relative number, for releases of one shape at one
    N and seed: I(x; x) is infinite, and finite here only through the estimator.
    """
    channels = x.dim() > 2 and x.shape == release.shape
    nats, own = (knn_information(x, z, k=k, norm=norm, seed=seed, channels=channels) for z in (release, x))
    return Loss(nats, own, 100 * (1 - nats / own))


def gaussian_information(signal: Tensor, std: Tensor | float) -> float:
    """1/2 log|I + S^-1/2 Cov(s) S^-1/2| nats >= I(s; s + N(0, S)), S = diag(std^2), of signals s (N, ...).

    Cloak's equation 5 with the determinant in place of a product of eigenvalues, which holds for S ~ I only. `std`
    broadcasts to one signal; infinite where an entry does not pass. A bound if Cov(s) were known: that of N signals has
    too small a determinant, by far where N is not many times the dimension. `held_out_information` has no such lack.
    """
    std = torch.as_tensor(std, dtype=torch.float64, device=signal.device)
    flat = ((signal - signal.mean(0)) / std).flatten(1) / math.sqrt(len(signal) - 1)
    gram = flat @ flat.mT if flat.shape[1] > len(flat) else flat.mT @ flat  # |I + A A^T| = |I + A^T A|
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return 0.5 * float(torch.linalg.slogdet(eye + gram).logabsdet)


def held_out_information(signal: Tensor, std: Tensor | float) -> tuple[float, float]:
    """An upper bound on I(s; s + N(0, S)), nats, and its standard error, from signals s (N, ...), N >= 4.

    I = E KL(p(z|s) || p(z)) <= E KL(p(z|s) || q) for every q. Here q is a Gaussian fitted to one half of the signals,
    its covariance shrunk towards its diagonal by what does best within that half, and the mean is over the other half;
    then the halves change places. So the estimate's expectation lies above I(s; z) for every law of s, every dimension
    and every N; with few signals it is loose, never too low. `std` as in `gaussian_information`.
    """
    std = torch.as_tensor(std, dtype=torch.float64, device=signal.device)
    flat = (signal.double() / std).flatten(1)
    halves = flat[::2], flat[1::2]
    divergences = [_shrunk_divergence(mine, theirs) for mine, theirs in (halves, halves[::-1])]
    values = torch.cat(divergences)
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def _shrunk_divergence(known: Tensor, held: Tensor) -> Tensor:
    """`_divergence` with the shrinkage that a part of `known` chooses for the rest of it."""
    chooser, rest = known[::4], known[torch.arange(len(known)) % 4 != 0]
    values = torch.stack([_divergence(rest, chooser, share).mean() for share in SHRINK])
    return _divergence(known, held, SHRINK[int(values.argmin())])


def _divergence(known: Tensor, held: Tensor, share: float) -> Tensor:
    """KL(N(s, I) || N(m, Q)) nats of each s of `held` (M, D), m the mean of `known` (N, D) and Q = I + its covariance,
    shrunk by `share` towards its diagonal; by whichever of N and D is smaller."""
    mean, size = known.mean(0), known.shape[1]
    spread = (known - mean) / math.sqrt(max(1, len(known) - 1))
    own = 1 + share * spread.square().sum(0)  # Q = own + (1 - share) spread^T spread
    spread, apart = math.sqrt(1 - share) * spread / own.sqrt(), (held - mean) / own.sqrt()
    if len(known) < size:
        factor = _factor(spread @ spread.mT)
        distance = apart.square().sum(1) - _solve(factor, spread @ apart.mT).square().sum(0)
        trace = (1 / own).sum() - _solve(factor, spread / own.sqrt()).square().sum()
    else:
        factor = _factor(spread.mT @ spread)
        distance = _solve(factor, apart.mT).square().sum(0)
        trace = _solve(factor, own.rsqrt().diag()).square().sum()
    return 0.5 * (trace - size + distance + own.log().sum() + 2 * factor.diagonal().log().sum())


def _factor(gram: Tensor) -> Tensor:
    return torch.linalg.cholesky(gram + torch.eye(len(gram), dtype=gram.dtype, device=gram.device))


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, right, upper=False)


class InfoNCE:
    """A learned lower bound on I(x; z): how well a critic finds the z of each x in a batch (van den Oord et al. 2018).

    The critic is -|g(x) - h(z)|^2 / sqrt(width), g and h perceptrons of one hidden layer of `width`, on standardised
    values. It learns `steps` Adam steps at rate `lr`; a fifth of its pairs chooses the step that is kept.
    """

    def __init__(self, *, width: Count, batch: Count, steps: Count, lr: Positive) -> None:
        self.width, self.batch, self.steps, self.lr = width, batch, steps, lr

    def cap(self, pairs: int) -> float:
        """log B, the most that the bound can say from this many pairs, nats."""
        return math.log(min(self.batch, pairs))

    @torch.enable_grad()
    def __call__(self, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, seed: int = 0) -> float:
        """The bound in nats, within 0 and log B, on pairs `test` (x (N, ...), z (N, ...)) that the critic never saw."""
        scales = [_scale(v.double()) for v in train]
        mine, held = ([((v - m) / s).flatten(1).float() for v, (m, s) in zip(part, scales, strict=True)]
                      for part in (train, test))  # fmt: skip
        keep = max(2, len(mine[0]) // 5)
        mine, chooser = [v[keep:] for v in mine], [v[:keep] for v in mine]
        generator = torch.Generator().manual_seed(seed)
        critic = self._critic([v.shape[1] for v in mine], seed).to(mine[0].device)
        optimizer = torch.optim.Adam(critic.parameters(), self.lr)
        best, value = self.bound(critic, held), self.bound(critic, chooser)
        for step in range(1, self.steps + 1):
            pick = torch.randperm(len(mine[0]), generator=generator)[: self.batch].to(mine[0].device)
            loss = F.cross_entropy(
                _scores(critic, [v[pick] for v in mine]), torch.arange(len(pick), device=pick.device)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % max(1, self.steps // 10) == 0 and (now := self.bound(critic, chooser)) > value:
                best, value = self.bound(critic, held), now
        return max(0.0, best)

    def _critic(self, sizes: list[int], seed: int) -> nn.ModuleList:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # that of the CPU alone
            return nn.ModuleList(
                nn.Sequential(nn.Linear(size, self.width), nn.GELU(), nn.Linear(self.width, self.width))
                for size in sizes
            )

    @torch.no_grad()
    def bound(self, critic: nn.ModuleList, pairs: list[Tensor]) -> float:
        """Mean over equal batches of log B less the cross-entropy of each pair among its batch."""
        count = math.ceil(len(pairs[0]) / self.batch)
        parts = list(zip(*(v.tensor_split(count) for v in pairs), strict=True))
        values = [math.log(len(x)) - F.cross_entropy(_scores(critic, [x, z]), torch.arange(len(x), device=x.device))
                  for x, z in parts]  # fmt: skip
        return float(torch.stack(values).double().mean())


def _scale(v: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every entry; of one that hardly varies, a hundredth of what the others do."""
    return v.mean(0), v.std(0).clamp_min(0.01 * v.std()).clamp_min(1e-12)


def _scores(critic: nn.ModuleList, pair: list[Tensor]) -> Tensor:
    """(B, B), row i for x_i: minus squared distances of embeddings over sqrt(width); |g(x)|^2 does not matter."""
    x, z = (net(v) for net, v in zip(critic, pair, strict=True))
    return (2 * x @ z.mT - z.square().sum(1)) / math.sqrt(x.shape[1])
