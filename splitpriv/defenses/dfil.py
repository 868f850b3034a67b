"""dFIL: noise calibrated to how much a release may tell, in Fisher information."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.jacobian import slope
from splitpriv.types import NonNegative, Positive, Shape, Spec, Step

RATE = 0.02  # of the running trace, once it has seen 1 / RATE batches


class Dfil(Defense):
    """z + N(0, σ²I), σ² = E[tr(JᵀJ)]·target/n, so that dFIL = tr(JᵀJ)/(n σ²) is 1/`target` on average over images.

    J = dz/dx, n the values of an image. `target` is the mean squared error, in [0, 1]², below which no *unbiased*
    attacker comes; who uses a prior is biased and does: what holds for all is van Trees' 1/(E[dFIL] + tr J(p)/n), which
    `measure=audit` reports. `weight` adds α·E[tr(JᵀJ)/zᵀz], the signal-to-noise regulariser, which no scale of z can
    game: it makes the noise that the target asks for small against z. The trace is Hutchinson's, one random vector a
    step, with BatchNorm's running statistics; its running mean sets σ, which is fixed at deployment. In the first steps
    σ follows the first batches.

    Open: one σ for all images, where the noise of a single image could follow its own J (it would then tell of it); the
    prior's Fisher information J(p) of images is unknown, so the bound that holds for all attackers stays an estimate;
    m releases have m times the information. The sheet's architecture changes (GELU, mean pooling, a bottleneck) are the
    backbone's and are left to it: with ReLU, J is that of the pieces.

    Source: Maeng, Guo, Kariyappa & Suh, Bounding the Invertibility of Privacy-preserving Instance Encoding using Fisher
    Information, NeurIPS 2023; numbers of equations not at hand.
    """

    trace: Tensor
    seen: Tensor
    adaptive = frozenset({"draws"})
    strength: ClassVar[Mapping[str, str]] = {"target": "tag(log, interval(1e-4, 10.0))"}

    def __init__(self, *, target: Positive, weight: NonNegative) -> None:
        super().__init__()
        self.target, self.weight = target, weight
        self.register_buffer("trace", torch.zeros(()))  # E tr(JᵀJ)/n
        self.register_buffer("seen", torch.zeros(()))

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self._model = (model,)  # in a tuple: it is no part of this module

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of the noise, ()."""
        return (self.trace * self.target).sqrt()

    @property
    def gaussian_std(self) -> Tensor:
        return self.sigma

    @property
    def facts(self) -> Mapping[str, float]:
        """`sigma`, of the noise, in units of z."""
        return {"sigma": float(self.sigma)}

    def after_edge(self, z: Tensor) -> Tensor:
        return z + self.sigma * torch.randn_like(z)

    def expected(self, z: Tensor) -> Tensor:
        return z

    def penalty(self, z: Tensor, step: Step) -> Tensor | None:
        trace, clear = self.look(step, graph=self.weight > 0)
        return self.weight * (trace / (clear.flatten(1).square().sum(1) + 1e-12)).mean() if self.weight else None

    def look(self, step: Step, graph: bool) -> tuple[Tensor, Tensor]:
        """`slope` at the step's images, of which σ learns."""
        trace, clear = slope(self._model[0], self, step.x, graph)
        with torch.no_grad():
            self.seen += 1
            self.trace.lerp_(trace.mean() / step.x[0].numel(), (1 / self.seen).clamp(min=RATE))
        return trace, clear
