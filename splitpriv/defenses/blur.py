"""Blur: the naive baseline, an image without its fine detail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import Positive, Shape, Spec, UserError


class Blur(Defense):
    """x, or z, is smoothed before it goes on: a linear operator that everybody knows, in training and at deployment.

    `kind` gaussian: a Gaussian of standard deviation `size` pixels, cut at three of them, borders reflected; pixelate:
    the mean of square blocks of `size` pixels, rounded to whole ones. `at` image: before the edge; feature: z, which
    must be a feature map. Each channel by itself. A blurred image is not private: what is left below the noise of
    rounding can be deconvolved, and attacks differentiate through the operator. Raises UserError where z is no map.

    Open: a baseline of the field without a paper of its own.
    """

    strength: ClassVar[Mapping[str, str]] = {"size": "tag(log, interval(0.3, 16.0))"}

    def __init__(self, *, size: Positive, kind: Literal["gaussian", "pixelate"],
                 at: Literal["image", "feature"]) -> None:  # fmt: skip
        super().__init__()
        self.size, self.kind, self.at = size, kind, at
        if kind == "pixelate" and size < 1:
            raise UserError(f".size: blocks of {size:g} pixels are none; give at least 1, or kind=gaussian")

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        if self.at == "feature" and len(shape) != 3:
            raise UserError(f"defense.blur.at: z of shape {shape} is no feature map; set defense.blur.at=image, or "
                            "cut where there is one")  # fmt: skip

    def before_edge(self, x: Tensor) -> Tensor:
        return self.smooth(x) if self.at == "image" else x

    def after_edge(self, z: Tensor) -> Tensor:
        return self.smooth(z) if self.at == "feature" else z

    def smooth(self, v: Tensor) -> Tensor:
        """v (N, C, H, W) blurred; its shape stays."""
        if self.kind == "pixelate":
            height, width = v.shape[-2:]
            block = min(round(self.size), max(height, width))
            small = F.avg_pool2d(v, block, ceil_mode=True, count_include_pad=False)
            return small.repeat_interleave(block, -2).repeat_interleave(block, -1)[..., :height, :width]
        for axis in (-2, -1):
            v = _along(v, axis, self.size)
        return v


def _along(v: Tensor, axis: int, sigma: float) -> Tensor:
    """A Gaussian over one axis, as one matrix: what lies beyond a border is what lies before it."""
    n, reach = v.shape[axis], max(1, round(3 * sigma))
    places = torch.arange(n, device=v.device)
    steps = torch.arange(-reach, reach + 1, device=v.device)
    weights = (-steps.to(v.dtype).square() / (2 * sigma**2)).exp()
    folded = (places[:, None] + steps) % (2 * n)  # reflected as often as it takes, edge pixels twice
    folded = torch.where(folded < n, folded, 2 * n - 1 - folded)
    matrix = torch.zeros(n, n, dtype=v.dtype, device=v.device)
    matrix = matrix.scatter_add(1, folded, (weights / weights.sum()).expand(n, -1))
    return (v.movedim(axis, -1) @ matrix.mT).movedim(-1, axis)
