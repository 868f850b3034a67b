"""BiDO: bilateral dependency optimisation, features that depend little on the image and much on the label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.still import still
from splitpriv.stats.hsic import coco, gaussian_kernel, label_kernel, nhsic
from splitpriv.types import NonNegative, Positive, Shape, Spec, Step

MEASURES = {"hsic": nhsic, "coco": coco}


class Bido(Defense):
    """Adds lambda_x Σ_j d(X, Z_j) − lambda_y Σ_j d(Z_j, Y) to the task loss (Peng et al., KDD 2022).

    `measure` d: hsic, the normalised tr(R_K R_L) with R = K̃(K̃ + 1e-5·N·I)⁻¹ as their code has it, up to N − 1; coco,
    the constrained covariance sqrt(‖K̃L̃‖₂)/N with the largest singular value, as defined, where their code takes the
    Frobenius norm. Kernels are Gaussian of `sigma`, for labels linear. `layers` j: stages, the output of
    every stage of the edge on the training image, z's own included, with the statistics of the batch; release, z alone.

    Open: theirs are the hidden layers of the whole network, since they defend the weights of a classifier against
    inversion; at a split only the device's layers come before what is seen. The dependence on X is estimated from one
    batch and biased upwards, so it is a direction to descend, no amount of information.

    Source: Peng et al., Bilateral Dependency Optimization: Defending Against Model-inversion Attacks, KDD 2022 (arXiv
    2206.05483), and their code; numbers of equations not at hand.
    """

    version = 2  # stages see what links before the edge make of the image
    _model: tuple[Defended, ...] = ()  # in a tuple: it is no part of this module

    @staticmethod
    def strength(node: Mapping[str, Any]) -> Mapping[str, str]:
        """COCO is smaller than nHSIC by orders."""
        least, most = (0.01, 10.0) if node["measure"] == "hsic" else (1.0, 3000.0)
        return {"lambda_x": f"tag(log, interval({least}, {most}))"}

    def __init__(self, *, measure: Literal["hsic", "coco"], lambda_x: NonNegative, lambda_y: NonNegative,
                 sigma: Positive, layers: Literal["release", "stages"]) -> None:  # fmt: skip
        super().__init__()
        self.measure, self.lambda_x, self.lambda_y = MEASURES[measure], lambda_x, lambda_y
        self.sigma, self.layers = sigma, layers

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self._model = (model,)

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        image, label = gaussian_kernel(step.x, self.sigma), label_kernel(step.y)
        terms = []
        stages = [*self._stages(step)] if self.layers == "stages" else []
        for hidden in stages or [z]:  # split=raw has no stage
            kernel = gaussian_kernel(hidden, self.sigma)
            terms.append(self.lambda_x * self.measure(image, kernel) - self.lambda_y * self.measure(kernel, label))
        return torch.stack(terms).sum().to(z.dtype)

    def _stages(self, step: Step) -> Iterator[Tensor]:
        h = step.x
        for link in (link for model in self._model for _, link in model.defenses()):
            h = link.before_edge(h)
        with still(step.edge, frozen=False):
            for stage in step.edge.children():
                h = stage(h)
                yield h.float()
