"""NoPeek: features that are statistically far from the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.stats.dcor import dcor
from splitpriv.types import NonNegative, Shape, Spec, Step


class NoPeek(Defense):
    """Adds weight·dCor(x, z) to the task loss (Vepakomma et al. 2020; numbers of equations not at hand), x the training
    image as augmented.

    `normalise`: x enters normalised per channel, as in the code of CEM; otherwise in [0, 1].

    Open: the weight, which differs between public codes by two orders. Distances are Euclidean as in the authors' code;
    several ports square them, which sees linear dependence only. A batch's estimate is biased by its size.
    """

    mean: Tensor
    std: Tensor

    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(0.03, 30.0))"}

    def __init__(self, *, weight: NonNegative, normalise: bool) -> None:
        super().__init__()
        self.weight, self.normalise = weight, normalise

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1), persistent=False)

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        x = (step.x - self.mean) / self.std if self.normalise else step.x
        return self.weight * dcor(x, z)
