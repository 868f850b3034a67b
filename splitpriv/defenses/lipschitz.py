"""PATROL's block-wise local Lipschitz term: a small change of the image is to move every stage of the edge little."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import ClassVar, Literal

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.still import still
from splitpriv.types import NonNegative, Positive, Shape, Spec, Step

_TINY = 1e-12

Stage = Callable[[Tensor], Tensor]
Normalise = Literal["none", "rms", "std"]


class Lipschitz(Defense):
    """Penalty `weight`·Σ_i k_i over the edge's N stages f_i (Ding et al. 2023, PATROL, §III-B2).

    With δ ~ N(0, `sigma`²) in pixels of [0, 1], fresh every step, and Δ_i the change that x + δ makes in the output of
    f_i∘…∘f_1, Δ_0 = δ: k_i = ‖Δ_i‖ / ‖Δ_{i-1}‖ per image, Euclidean over all values. What links before the edge make of
    an image is part of f_1. `aggregate` stands for the supremum over x: the batch's mean, max, or log of the mean of
    exp, which lies between. The product of all k_i is ‖Δ_N‖/‖δ‖, so numerators pull against denominators; `detach`
    leaves the latter without a gradient.

    The printed form is blind to scale: 0.01·z has a hundredth of k_N and tells as much, unless noise of fixed size
    follows. `normalise` divides every Δ_i by the size of what it changes: rms, the root mean square over the batch, or
    std, the same about each value's mean, which a constant offset cannot inflate. `statistics`, of BatchNorm: joint,
    those of the batch of x and x + δ together; frozen, the running ones. Either leaves the running ones alone.
    """

    version = 2  # the first stage sees what links before the edge make of the image
    _model: tuple[Defended, ...] = ()  # in a tuple: it is no part of this module
    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(1e-3, 10.0))"}

    def __init__(self, *, weight: NonNegative, sigma: Positive, aggregate: Literal["mean", "max", "logsumexp"],
                 detach: bool, normalise: Normalise, statistics: Literal["joint", "frozen"]) -> None:  # fmt: skip
        super().__init__()
        self.weight, self.sigma, self.aggregate = weight, sigma, aggregate
        self.detach, self.normalise, self.frozen = detach, normalise, statistics == "frozen"

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self._model = (model,)

    def penalty(self, z: Tensor, step: Step) -> Tensor | None:
        stages: list[Stage] = list(step.edge.children())
        if not stages:
            return None
        shifted, first = step.x + self.sigma * torch.randn_like(step.x), stages[0]
        stages[0] = lambda x: first(self._before_edge(x))
        with still(step.edge, self.frozen):
            ks = quotients(stages, step.x, shifted, self.detach, self.normalise)
        return self.weight * torch.stack([_pooled(k, self.aggregate) for k in ks]).sum()

    def _before_edge(self, x: Tensor) -> Tensor:
        for link in (link for model in self._model for _, link in model.defenses()):
            x = link.before_edge(x)
        return x


def quotients(blocks: Sequence[Stage], x: Tensor, shifted: Tensor, detach: bool, normalise: Normalise) -> list[Tensor]:
    """k_i (N,) of every block on images x and `shifted` (N, C, H, W), which pass in one batch."""
    h, ratios = torch.cat([x, shifted]), []
    before = _change(h, normalise)
    for block in blocks:
        h = block(h).float()
        after = _change(h, normalise)
        ratios.append(after / (before.detach() if detach else before))
        before = after
    return ratios


def _change(h: Tensor, normalise: Normalise) -> Tensor:
    """‖Δ‖ (N,) between the halves of h (2N, ...), perhaps by the size of the first."""
    clean, moved = h.flatten(1).chunk(2)
    change = ((moved - clean).square().sum(1) + _TINY).sqrt()
    if normalise == "none":
        return change
    centred = clean - clean.mean(0) if normalise == "std" else clean
    return change / (centred.square().mean() + _TINY).sqrt()


def _pooled(k: Tensor, aggregate: str) -> Tensor:
    if aggregate == "logsumexp":
        return k.logsumexp(0) - log(len(k))
    return k.mean() if aggregate == "mean" else k.max()
