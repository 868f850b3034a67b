"""Conditional entropy by nearest neighbours: what a noisy z tells of its image, beyond the label, is made small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.noisy import require_noise
from splitpriv.stats.entropy import knn_entropy
from splitpriv.types import Count, NonNegative, Shape, Spec, Step


class KnnEntropy(Defense):
    """Adds weight·(Ĥ(z + σε) − H(σε))/D to the task loss, nats per value, Ĥ a batch's by Kozachenko & Leonenko (1987).

    As x → z is a function and the noise N(0, σ²) is the only chance, H(x|z̃) = H(x) − I(x; z̃) and I(x; z̃) = H(z̃) −
    H(σε) (Xia et al. 2025, their second proposition): to lower H(z̃) is to raise the conditional entropy that bounds
    every attacker's error from below. `within` class takes neighbours of the same class, so that I(x; z̃ | y) falls and
    the label's part may stay; batch takes all. σ is that of the whole chain; raises UserError where it has no noise of
    fixed size, since without it shrinking z would do.

    Open: a k-NN estimate from a batch in many dimensions is far off in amount; its gradient, towards the k-th
    neighbour, is what is used. No paper of split inference states it; CEM bounds the same entropy by a mixture.
    """

    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(0.01, 30.0))"}

    def __init__(self, *, weight: NonNegative, k: Count, within: Literal["class", "batch"]) -> None:
        super().__init__()
        self.weight, self.k, self.within = weight, k, within
        self.alike = k if within == "class" and weight else 0

    def validate(self, chain: Mapping[str, Defense]) -> None:
        require_noise(chain, "knn_entropy", "entropy", ".weight")

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self._model = (model,)  # in a tuple: it is no part of this module

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        sigma, size = self._model[0].noise_std, z[0].numel()
        with torch.autocast(z.device.type, enabled=False):
            noisy = (z + sigma * torch.randn_like(z)).float()
            entropy = knn_entropy(noisy, self.k, step.y if self.within == "class" else None)
        return self.weight * (entropy / size - 0.5 * math.log(2 * math.pi * math.e * sigma**2))
