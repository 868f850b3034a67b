"""Siamese fine-tuning: features of one class come together, so that they say little else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv.defenses.base import Defense
from splitpriv.stats.dcor import distances
from splitpriv.types import NonNegative, Positive, Step


class Siamese(Defense):
    """CE + weight·mean over pairs of [same class: d², else max(0, margin − d)²], d the Euclidean distance of two z of
    the batch (Osia et al., IoT-J 2020, arXiv 1703.02952, after Hadsell et al. 2006, without their halves;
    numbers of equations not at hand).

    The paper then sends z on few principal components, with noise on them: list noise and `pca` behind it, in this
    order, as in defense=[siamese,noise,pca]. Pairs are those of a batch, each image with every other.

    Open: the margin is in the units of z, which the paper does not fix; 30 and 2 are those of two public codes, of
    which one takes d for d² and counts each image as its own pair.
    """

    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(1e-4, 1.0))"}

    def __init__(self, *, weight: NonNegative, margin: Positive) -> None:
        super().__init__()
        self.weight, self.margin = weight, margin

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        d = distances(z)
        same = step.y[:, None] == step.y
        cost = torch.where(same, d, (self.margin - d).clamp(min=0)).square()
        n = len(z)
        return self.weight * (cost.sum() - cost.diagonal().sum()) / max(1, n * (n - 1))
