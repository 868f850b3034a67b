"""How many bits a release takes on the wire, once quantised and entropy coded; fitted and measured on aux alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.aside import aside

LEVELS = 256  # of a quantiser of 8 bits over the range that all values of a release share
IMAGES = 256  # half to fit the code, half to measure it
VALUES = 2**24  # of all their releases, at most: fewer images where a release is large


@torch.no_grad()
def rate(model: Defended, aux: Split) -> dict[str, float]:
    """`bits_per_image`: the mean ideal code length of a release of `aux`; empty where aux has fewer than two images.

    The code is fitted on one half of up to 256 images and measured on the other, one fresh release of each.
    """
    half = min(len(aux), IMAGES, max(2, VALUES // math.prod(model.shape))) // 2
    if half < 1:
        return {}
    with aside(seed=0):
        releases = torch.cat([model.release(aux.x(slice(i, min(i + 64, 2 * half)))) for i in range(0, 2 * half, 64)])
    (bits,) = host.to_host(code_length(releases[:half], releases[half:])[None])
    return {"bits_per_image": bits}


def quantised(fit: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels of `values` (M, ...) as `fit` (N, ...) places them, with the lowest and the highest of each channel.

    One step for all: 1/255 of the range of `fit`. What lies outside its channel's range in `fit` is clipped to it.
    """
    low, high = fit.min(), fit.max()
    step = ((high - low) / (LEVELS - 1)).clamp_min(torch.finfo(fit.dtype).tiny)
    known = _by_channel(((fit - low) / step).round().long())
    least, most = known.amin(1, keepdim=True), known.amax(1, keepdim=True)
    return _by_channel(((values - low) / step).round().long()).clamp(least, most), least, most


def code_length(fit: Tensor, values: Tensor) -> Tensor:
    """Bits that one of `values` (M, ...) takes on average under a code fitted to `fit` (N, ...).

    Every value is coded by itself, by how often its level came up in its channel (the first axis of a feature map, the
    last of anything else), smoothed towards all channels' frequencies by as many counts as there are levels. Levels
    outside a channel's range have no code, so that a constant channel costs nothing. An arithmetic coder comes within
    two bits of this length.
    """
    symbols, least, most = quantised(fit, values)
    known, _, _ = quantised(fit, fit)
    counts = torch.zeros(len(known), LEVELS, dtype=torch.double, device=fit.device)
    counts.scatter_add_(1, known, torch.ones_like(known, dtype=torch.double))
    levels = torch.arange(LEVELS, device=fit.device)
    coded = (levels >= least) & (levels <= most)
    shared = (counts.sum(0) + 0.5) * coded
    prior = shared / shared.sum(1, keepdim=True)
    share = (counts + LEVELS * prior) / (counts.sum(1, keepdim=True) + LEVELS)
    lengths = torch.where(coded, -share.log2(), 0.0)
    return lengths.gather(1, symbols).sum() / len(values)


def _by_channel(levels: Tensor) -> Tensor:
    """(N, ...) as (channels, values of each)."""
    axis = 1 if levels.dim() == 4 else -1
    return levels.movedim(axis, 0).flatten(1)
