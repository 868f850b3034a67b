"""Pruning of all but the largest features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from splitpriv.defenses.base import Defense


class TopK(Defense):
    """Keeps the largest entries of z and zeroes the rest, a share `keep` rounded to whole entries, at least one.

    `by`: largest values or magnitudes. `scope`: the share is of each sample, or of the whole batch at once, as the code
    of ResSFL and CEM computes it; what one image releases then depends on the others in its batch.

    Open: a baseline of theirs without a paper of its own. In CEM's code it acts in training, but not on the releases
    that are attacked.
    """

    version = 2
    strength: ClassVar[Mapping[str, str]] = {"keep": "interval(0.02, 0.9)"}

    def __init__(
        self,
        *,
        keep: Annotated[float, Interval(gt=0, le=1)],
        by: Literal["value", "magnitude"],
        scope: Literal["sample", "batch"],
    ) -> None:
        super().__init__()
        self.share, self.by, self.scope = keep, by, scope

    def after_edge(self, z: Tensor) -> Tensor:
        score = z.detach().abs() if self.by == "magnitude" else z.detach()
        score = score.flatten(1) if self.scope == "sample" else score.reshape(1, -1)
        kept = score.topk(max(1, round(self.share * score.shape[1])), dim=1, sorted=False).indices
        dropped = torch.ones_like(score, dtype=torch.bool).scatter(1, kept, False)
        return z.masked_fill(dropped.view(z.shape), 0.0)

    def gap(self, z: Tensor, release: Tensor) -> Tensor:
        """What was kept tells z; the rest, that it is no larger than the least of what was kept."""
        kept, rows = release != 0, int(self.scope == "sample")
        size, score = (release.abs(), z.abs()) if self.by == "magnitude" else (release, z)
        least = size.masked_fill(~kept, math.inf).flatten(rows).amin(-1)
        if rows:  # of a batch a part is seen, where the least of what was kept is a bound all the same
            few = kept.flatten(1).sum(1) < max(1, round(self.share * kept[0].numel()))
            least = least.masked_fill(few, 0.0)  # what was kept has zeros, so no entry that was dropped is larger
        excess = (score - least.view(-1, *[1] * (z.dim() - 1))).clamp_min(0)
        return torch.where(kept, z - release, excess * z.sign() if self.by == "magnitude" else excess)
