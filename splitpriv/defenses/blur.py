"""Blur: the naive baseline, an image without its fine detail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import Shape, Spec, UserError

LEAST = 0.2  # pixels of deviation, where a neighbour weighs 4e-6


class Blur(Defense):
    """x, or z, is smoothed before it goes on: a linear operator that everybody knows, in training and at deployment.

    `kind` gaussian: a Gaussian of standard deviation `size` pixels, cut at three of them, borders reflected; pixelate:
    the mean of square blocks of `size` pixels, rounded to whole ones. `at` image: before the edge; feature: z, which
    must be a feature map. Each channel by itself. A blurred image is not private: what is left below the noise of
    rounding can be deconvolved, and attacks differentiate through the operator. Raises UserError where z is no map.

    Open: a baseline of the field without a paper of its own.
    """

    rows: Tensor
    columns: Tensor
    strength: ClassVar[Mapping[str, str]] = {"size": "tag(log, interval(0.3, 16.0))"}

    def __init__(self, *, size: Annotated[float, Interval(gt=0, le=1024)], kind: Literal["gaussian", "pixelate"],
                 at: Literal["image", "feature"]) -> None:  # fmt: skip
        super().__init__()
        self.size, self.kind, self.at = size, kind, at
        if kind == "pixelate" and round(size) < 2:
            raise UserError(f".size: blocks of {size:g} pixels are none; give at least 2, or kind=gaussian")
        if kind == "gaussian" and size < LEAST:
            raise UserError(f".size: a deviation of {size:g} pixels blurs nothing; give at least {LEAST}")

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        if self.at == "feature" and len(shape) != 3:
            raise UserError(f"defense.blur.at: z of shape {shape} is no feature map; set defense.blur.at=image, or "
                            "cut where there is one")  # fmt: skip
        height, width = (spec.image if self.at == "image" else shape)[1:]
        make = gaussian if self.kind == "gaussian" else blocks
        self.register_buffer("rows", make(height, self.size), persistent=False)
        self.register_buffer("columns", make(width, self.size), persistent=False)

    def before_edge(self, x: Tensor) -> Tensor:
        return self.smooth(x) if self.at == "image" else x

    def after_edge(self, z: Tensor) -> Tensor:
        return self.smooth(z) if self.at == "feature" else z

    def smooth(self, v: Tensor) -> Tensor:
        """v (N, C, H, W) blurred; its shape stays."""
        return self.rows @ v @ self.columns.mT


def gaussian(n: int, sigma: float) -> Tensor:
    """A Gaussian over n pixels as a matrix (n, n): what lies beyond a border is what lies before it."""
    reach = max(1, round(3 * sigma))
    steps = torch.arange(-reach, reach + 1)
    weights = (-steps.double().square() / (2 * sigma**2)).exp()
    folded = (torch.arange(n)[:, None] + steps) % (2 * n)  # reflected as often as it takes, edge pixels twice
    folded = torch.where(folded < n, folded, 2 * n - 1 - folded)
    matrix = torch.zeros(n, n, dtype=torch.double)
    return matrix.scatter_add(1, folded, (weights / weights.sum()).expand(n, -1)).float()


def blocks(n: int, size: float) -> Tensor:
    """The mean over blocks of `size` of n pixels as a matrix (n, n); the border cuts the last block."""
    block = torch.arange(n) // round(size)
    same = (block[:, None] == block).float()
    return same / same.sum(1, keepdim=True)
