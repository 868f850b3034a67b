"""Pearson: features that are uncorrelated with pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from splitpriv.defenses.base import Defense
from splitpriv.stats.pearson import pearson
from splitpriv.types import NonNegative, Step


class Pearson(Defense):
    """Adds weight·sqrt(mean r²) to the task loss, r Pearson's correlation of a value of x with one of z over the batch.

    All pairs count; x is the training image as augmented. Only linear dependence is seen: z may hold x² or |x − c| in
    full, which a decoder reads. `nopeek` and `hsic` see any dependence.
    Open: used as a measure of leakage in split learning; no paper that we could read states it as a loss.
    """

    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(0.1, 300.0))"}

    def __init__(self, *, weight: NonNegative) -> None:
        super().__init__()
        self.weight = weight

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        return self.weight * pearson(step.x, z)
