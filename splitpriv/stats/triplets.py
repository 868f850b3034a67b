"""Metric learning without a read-back: which images meet in a step, and the batch-hard triplet loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv.types import UserError


def identity_batches(ids: Tensor, batch: int, instances: int) -> Tensor:
    """P x K sampling: one epoch's indices into `ids` (N,), as (steps, P * K), on its device.

    A row is P = batch // K groups of K = `instances` images of one identity. An epoch has N // batch steps, in which
    the identities take turns in a random order: within a step all differ, unless there are fewer than P. Every turn of
    an identity shows its next K images, and repeats some where it has fewer. Raises UserError where P would be below 2.
    """
    n, device = len(ids), ids.device
    batch = min(batch, n)
    groups = batch // instances
    if groups < 2:
        raise UserError(
            f".instances: a batch of {batch} images holds {groups} identities of {instances}, so no negatives; "
            f"lower instances, or let a batch and its data hold {2 * instances} or more"
        )
    steps = max(1, n // (groups * instances))
    order = torch.randperm(n).to(device)
    order = order[ids[order].argsort(stable=True)]  # by identity, in random order inside each
    kind = F.pad((ids[order][1:] != ids[order][:-1]).long().cumsum(0), (1, 0))  # 0, 1, ... in that order
    total = kind[-1] + 1
    count = torch.zeros_like(ids).scatter_add_(0, kind, torch.ones_like(kind))
    first = count.cumsum(0) - count
    # Laps: in each, all identities once in a random order, of which the first `per` * P are used. How many identities
    # there are is not known here, so the laps lie in a list that is long enough for any number.
    per = (total // groups).clamp_min(1)
    place = torch.randperm(2 * steps * groups + n).to(device)
    place = place[(place // total).argsort(stable=True)]
    step = torch.arange(steps, device=device)[:, None]
    lap, turn = step // per, step % per
    picked = place[lap * total + (turn * groups + torch.arange(groups, device=device)) % total] % total
    shot = lap[..., None] * instances + torch.arange(instances, device=device)
    return order[first[picked][..., None] + shot % count[picked][..., None]].flatten(1)


def batch_hard(anchors: Tensor, others: Tensor, ids: Tensor, margin: float | None) -> Tensor:
    """Triplet loss on the hardest pairs of a batch (Hermans et al. 2017): a scalar from embeddings, both (N, E).

    For each anchor, the farthest of the `others` with its identity `ids` (N,) and the nearest of another one, at
    Euclidean distance; hinge with `margin`, or softplus (soft margin) where it is None. `others` may be the anchors.
    """
    anchors, others = anchors.float(), others.float()
    squares = anchors.square().sum(1, keepdim=True) + others.square().sum(1) - 2 * anchors @ others.T
    distance = squares.clamp_min(1e-12).sqrt()  # away from 0, where the root has no gradient
    same = ids[:, None] == ids
    farthest = distance.masked_fill(~same, 0).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    gap = farthest - nearest
    return F.softplus(gap).mean() if margin is None else F.relu(gap + margin).mean()
