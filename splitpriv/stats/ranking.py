"""Who is found in a gallery: average precision, CMC and verification rates of embeddings under the cosine distance."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 2**22  # of the matrix of similarities that are held at once


@torch.no_grad()
def ranking(
    query: Tensor, gallery: Tensor, query_ids: Tensor, gallery_ids: Tensor, query_cameras: Tensor | None,
    gallery_cameras: Tensor | None, same: bool,
) -> dict[str, Tensor]:  # fmt: skip
    """Rank the gallery (G, E) for every query (Q, E); a match is an item of the query's identity.

    Items of the query's identity *and* camera are dropped, as VeRi-776 and Market-1501 prescribe (cameras None: not
    known, none is dropped); with `same`, query i is item i, and is dropped. ids and cameras are (Q,) and (G,). Returns,
    each (Q,): "ap" in [0, 1], the average precision of what is left; "rank1" and "rank5", 1.0 where a match is among
    the first; "valid", False for queries without a match, whose numbers are 0 and should not count. Items at equal
    distance come in an order that is random, but always the same: a constant embedding ranks by chance.
    """
    dice = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(0)).to(gallery.device)
    query, gallery = F.normalize(query.float(), dim=1), F.normalize(gallery.float(), dim=1)[dice]
    parts = []
    for rows, match, dropped in _pairs(query_ids, gallery_ids, query_cameras, gallery_cameras, same):
        match, dropped = match[:, dice], dropped[:, dice]
        similarity = (query[rows] @ gallery.T).masked_fill(dropped, -math.inf)
        hit = match.gather(1, similarity.argsort(dim=1, descending=True, stable=True)).float()
        place = torch.arange(1, hit.shape[1] + 1, device=hit.device)
        count = hit.sum(1)
        precision = (hit * hit.cumsum(1) / place).sum(1) / count.clamp_min(1)
        parts.append(torch.stack([precision, hit[:, :1].amax(1), hit[:, :5].amax(1), count]))
    ap, rank1, rank5, count = torch.cat(parts, 1)
    return {"ap": ap, "rank1": rank1, "rank5": rank5, "valid": count > 0}


@torch.no_grad()
def chance(
    query_ids: Tensor, gallery_ids: Tensor, query_cameras: Tensor | None, gallery_cameras: Tensor | None, same: bool
) -> dict[str, Tensor]:
    """What `ranking` gives on average where the order says nothing: the floor of every re-identification."""
    parts = []
    for _, match, dropped in _pairs(query_ids, gallery_ids, query_cameras, gallery_cameras, same):
        parts.append(torch.stack([match.sum(1), (~dropped).sum(1)]))
    matches, size = torch.cat(parts, 1).double()
    harmonic = torch.digamma(size + 1) + 0.5772156649015329
    both = (matches - 1) / (size - 1).clamp_min(1)  # that another item is a match, given that one is
    missed = [((size - matches - k) / (size - k).clamp_min(1)).clamp_min(0) for k in range(5)]
    ap = (harmonic + both * (size - harmonic)) / size.clamp_min(1)
    values = {"ap": ap, "rank1": 1 - missed[0], "rank5": 1 - torch.stack(missed).prod(0)}
    return {**{k: torch.where(matches > 0, v, 0).float() for k, v in values.items()}, "valid": matches > 0}


@torch.no_grad()
def verification(
    query: Tensor, gallery: Tensor, query_ids: Tensor, gallery_ids: Tensor, query_cameras: Tensor | None,
    gallery_cameras: Tensor | None, same: bool, far: float,
) -> dict[str, Tensor]:  # fmt: skip
    """TAR@FAR: the share of a query's matches above the threshold that at most a share `far` of all others pass.

    Arguments as for `ranking`; one threshold serves all queries. Returns "tar" in [0, 1] and "valid", each (Q,).
    """
    query, gallery = F.normalize(query.float(), dim=1), F.normalize(gallery.float(), dim=1)
    pairs = list(_pairs(query_ids, gallery_ids, query_cameras, gallery_cameras, same))
    likeness = [query[rows] @ gallery.T for rows, _, _ in pairs]
    others = torch.cat([s[~(match | out)] for s, (_, match, out) in zip(likeness, pairs, strict=True)])
    most = min(int(far * len(others)), len(others) - 1)
    threshold = others.topk(most + 1).values[-1] if len(others) else others.new_tensor(-math.inf)
    passed = torch.cat([((s > threshold) & match).sum(1) for s, (_, match, _) in zip(likeness, pairs, strict=True)])
    count = torch.cat([match.sum(1) for _, match, _ in pairs])
    return {"tar": passed / count.clamp_min(1), "valid": count > 0}


def _pairs(
    query_ids: Tensor, gallery_ids: Tensor, query_cameras: Tensor | None, gallery_cameras: Tensor | None, same: bool
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Some queries at a time: (which, match (n, G), dropped (n, G)); what is dropped is no match."""
    step = max(1, CELLS // max(1, len(gallery_ids)))
    for start in range(0, max(1, len(query_ids)), step):  # of no query, none
        rows = slice(start, min(start + step, len(query_ids)))
        match = query_ids[rows, None] == gallery_ids
        dropped = torch.zeros_like(match)
        if query_cameras is not None and gallery_cameras is not None:
            dropped = match & (query_cameras[rows, None] == gallery_cameras)
        if same:
            items = torch.arange(len(gallery_ids), device=match.device)
            dropped = dropped | (items == torch.arange(rows.start, rows.stop, device=match.device)[:, None])
        yield rows, match & ~dropped, dropped
