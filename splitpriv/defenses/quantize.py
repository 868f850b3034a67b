"""Quantisation of z to a grid of a few bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import Shape, Spec, UserError


class Quantize(Defense):
    """z is clipped to [lo, hi] and rounded to 2^bits evenly spaced levels; the gradient passes straight through, as 1.

    With `lo` and `hi` null each sample's own minimum and maximum are the range; these two numbers travel with it and
    count in the size of the release. Raises UserError on an empty or half-given range.

    Open: a baseline without a paper of its own: how many bits, whether a dither is added, and whose range it is.
    """

    strength: ClassVar[Mapping[str, str]] = {"bits": "int(interval(1, 8))"}

    def __init__(self, *, bits: Annotated[int, Interval(ge=1, le=16)], lo: float | None, hi: float | None) -> None:
        super().__init__()
        if (lo is None) != (hi is None):
            raise UserError("defense.quantize.lo: only one end of the range is given; set both lo and hi, or both null")
        if lo is not None and hi is not None and lo >= hi:
            raise UserError(f"defense.quantize.lo: {lo} is not below hi = {hi}; set lo < hi, or both null")
        self.levels, self.lo, self.hi = 2**bits - 1, lo, hi
        self.bits = float(bits)

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        if self.lo is None:
            self.bits = math.log2(self.levels + 1) + 2 * 32 / math.prod(shape)

    def after_edge(self, z: Tensor) -> Tensor:
        v = z.detach().flatten(1)
        if self.lo is None or self.hi is None:
            lo, hi = v.amin(1, keepdim=True), v.amax(1, keepdim=True)
        else:
            lo, hi = (torch.full((1, 1), end, dtype=v.dtype, device=v.device) for end in (self.lo, self.hi))
        step = ((hi - lo) / self.levels).clamp(min=torch.finfo(v.dtype).tiny)
        grid = lo + step * ((v.clamp(lo, hi) - lo) / step).round()
        return grid.view(z.shape) + (z - z.detach())  # in this order the sum is exact, and no lower bits leak
