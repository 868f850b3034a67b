"""k-means inside every class at once, on tensors padded to the largest class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from splitpriv import host


class Table(NamedTuple):
    """Features sorted into classes: `points` (C, M, D), `mask` (C, M) true where a row is filled, `total` seen ()."""

    points: Tensor
    mask: Tensor
    total: Tensor


class Clusters(NamedTuple):
    """`centres` (C, K, D); `member` (C, M, K), one where a point belongs to a cluster; `sizes` (C, K), its members."""

    centres: Tensor
    member: Tensor
    sizes: Tensor


def by_class(batches: Iterable[tuple[Tensor, Tensor]], classes: int, limit: int | None) -> Table:
    """Sort batches of (z (n, ...), y (n,)) into classes, keeping the first `limit` features of each; None keeps all.

    `total` counts what was seen, kept or not.
    """
    if limit is None:
        batches = list(batches)
        counts = sum((y[:, None] == torch.arange(classes, device=y.device)).sum(0) for _, y in batches)
        limit = max(1, int(max(host.to_host(torch.as_tensor(counts)))))
    rows, seen = None, None
    for z, y in batches:
        z = z.flatten(1).float()
        if rows is None or seen is None:
            rows = z.new_zeros(classes * limit + 1, z.shape[1])  # the last row takes what exceeds the limit
            seen = torch.zeros(classes, dtype=torch.long, device=z.device)
        own = (y[:, None] == torch.arange(classes, device=y.device)).long()
        rank = seen[y] + own.cumsum(0).gather(1, y[:, None]).squeeze(1) - 1
        rows.index_copy_(0, torch.where(rank < limit, y * limit + rank, classes * limit), z)
        seen = seen + own.sum(0)
    if rows is None or seen is None:
        raise ValueError("no features to cluster")
    mask = torch.arange(limit, device=rows.device) < seen[:, None]
    return Table(rows[:-1].view(classes, limit, -1), mask, seen.sum())


def seed_centres(points: Tensor, mask: Tensor, clusters: int, generator: torch.Generator | None = None) -> Tensor:
    """Starting centres (C, K, D) chosen among `points` (C, M, D): the first uniformly, each further one with
    probability proportional to its distance (k-means++ would square it) to the nearest centre chosen so far.

    Source: the CEM authors' code. Draws from torch's global generator, or from `generator`.
    """
    chance = mask.to(points.dtype)
    reach = torch.full_like(chance, torch.inf)
    chosen = []
    for _ in range(clusters):
        # argmax(p / Exp(1)) draws from p, and survives a class whose chances are all zero
        pick = (chance / torch.empty_like(chance).exponential_(generator=generator)).argmax(1)
        centre = points.gather(1, pick[:, None, None].expand(-1, 1, points.shape[2]))
        chosen.append(centre)
        reach = torch.minimum(reach, (points - centre).norm(dim=2))
        chance = reach * mask
    return torch.cat(chosen, 1)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Index (C, M) of the Euclidean-nearest of `centres` (C, K, D) for each of `points` (C, M, D)."""
    return torch.baddbmm(centres.square().sum(2)[:, None], points, centres.mT, alpha=-2).argmin(2)


def lloyd(points: Tensor, mask: Tensor, start: Tensor, iterations: int) -> Clusters:
    """Lloyd's algorithm from `start` (C, K, D), until no assignment changes or `iterations` are spent.

    Empty clusters keep their centre. The members returned are those nearest to the centres returned. Reads one number
    per iteration from the device.
    """
    centres, label = start, nearest(points, start)
    for _ in range(iterations):
        member, count = _members(label, mask, start)
        centres = torch.where(count[..., None] > 0, member.mT @ points / count.clamp(min=1)[..., None], centres)
        previous, label = label, nearest(points, centres)
        if not any(host.to_host(((label != previous) & mask).sum())):
            break
    return Clusters(centres, *_members(label, mask, start))


def _members(label: Tensor, mask: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    one_hot = label[..., None] == torch.arange(centres.shape[1], device=label.device)
    member = (one_hot & mask[..., None]).to(centres.dtype)
    return member, member.sum(1)
