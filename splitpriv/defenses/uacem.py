"""A prototype variant of CEM: an epoch's prototypes pull, the more the more certain an image's prototype is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.cem import Cem
from splitpriv.defenses.parts.noisy import require_noise
from splitpriv.defenses.parts.prototypes import PrototypeLoss
from splitpriv.types import Count, NonNegative, Pull, Shape, Spec


class Uacem(Cem):
    """Adds weight·mean_i c_i·½ mean_d (z_d − m_d)²/(v_d + σ²): m and v are mean and, value by value, variance of the
    likeliest prototype of the image's class, both of the epoch before; σ is the noise of the whole chain.

    CEM lowers Σ π_j ½ log|Σ_j + Σ_p|/|Σ_p| (its eq. 7). A logarithm lies below its tangent, so that with the last
    epoch's variances in the denominator this bounds that loss from above up to a constant, for diagonal Σ: statistics
    are epoch-wise alone, and no share ρ of a batch damps the pull, as it does in CEM's code. `uncertainty`: c_i = 1 −
    H(j|z_i)/log K, so that an image between prototypes is pulled to none; false: 1. Prototypes come from k-means in
    every class at an epoch's end; the first epoch trains without the penalty. Raises UserError without noise of fixed
    size in the chain.

    Open: the name is in use for an uncertainty-aware CEM with prototypes, of which no text could be had; this is ours
    in its place, from CEM's own equations, and says nothing of that method's numbers.
    """

    statistics: PrototypeLoss  # type: ignore[assignment]

    @staticmethod
    def strength(node: Mapping[str, Any]) -> Mapping[str, str]:
        return {"weight": "tag(log, interval(0.01, 30.0))"}

    def __init__(self, *, weight: NonNegative, clusters: Count, iterations: Count, samples: Count | None,
                 uncertainty: bool) -> None:  # fmt: skip
        Defense.__init__(self)
        self.weight, self.clusters, self.iterations, self.samples = weight, clusters, iterations, samples
        self.rate_threshold, self.uncertainty = None, uncertainty

    def validate(self, chain: Mapping[str, Defense]) -> None:
        require_noise(chain, "uacem", "the prototypes' entropy", ".weight")

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self._model = (model,)  # in a tuple: it is no part of this module
        self.statistics = PrototypeLoss(spec.classes, self.clusters, prod(shape), uncertainty=self.uncertainty)

    def pull(self, batch: int, rates: Sequence[float]) -> Pull:
        return Pull()
