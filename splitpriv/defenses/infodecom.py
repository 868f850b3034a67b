"""InfoDecom: what is redundant is taken out of the image and of z first, so that less noise hides the rest."""

from __future__ import annotations

from collections.abc import Mapping
from math import pi
from typing import ClassVar, Literal

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended
from splitpriv.defenses.dfil import Dfil
from splitpriv.types import Fraction, NonNegative, Positive, Shape, Spec, Step


class Infodecom(Dfil):
    """Decompose, then noise (Deng, Lu & Duan 2026), all three learnt together from the start.

    Visual information removal: frequencies of the image's cosine transform, ((u/H + v/W)/2 from 0 to 1, per channel),
    below `removed` (`drop` low), or within it of 1 (high), are replaced by those of mid-grey before the edge. Mutual
    information suppression: `weight`·mean ½ log(1 + Var(zᵢ)/σ²), nats per value, joins the task loss; summed over
    values it bounds I(x; z + σε) from above. σ² follows J, so the gradient passes it as well, through the trace of the
    step: no scale of z games it. Calibrated noise: z + N(0, σ²I) as in `dfil`, σ² = E[tr(JᵀJ)]·target/n.

    Open: we could read the abstract and summaries alone, so this follows the paper in its parts and not in its letters.
    They calibrate to FSInfo, whose log|JᵀJ/σ²| is by the inequality of means at most n·log dFIL, so that a target of
    one is a target of the other, ours the looser. Which frequencies are redundant (we take the low ones for the visual
    information that faces in the frequency domain hide), the form of the bottleneck, and whether its parts learn one
    after the other is not known to us. What the noise guarantees, it does for one release and unbiased attackers.

    Source: Deng, Lu & Duan, InfoDecom: Decomposing Information for Defending Against Privacy Leakage in Split
    Inference, AAAI 2026 (arXiv 2511.13365); numbers of equations not at hand.
    """

    kept: Tensor
    rows: Tensor
    columns: Tensor
    version = 2  # the penalty's gradient passes σ, and its variance is that of z as J is taken
    strength: ClassVar[Mapping[str, str]] = {"target": "tag(log, interval(1e-4, 10.0))"}

    def __init__(self, *, target: Positive, weight: NonNegative, removed: Fraction,
                 drop: Literal["low", "high"]) -> None:  # fmt: skip
        super().__init__(target=target, weight=0.0)
        self.suppression, self.removed, self.drop = weight, removed, drop

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        super().attach(model, spec, shape)
        height, width = spec.image[1:]
        frequency = (torch.arange(height)[:, None] / height + torch.arange(width) / width) / 2
        kept = frequency >= self.removed if self.drop == "low" else frequency < 1 - self.removed
        made = {"kept": kept.float(), "rows": cosines(height), "columns": cosines(width)}
        for name, value in made.items():
            self.register_buffer(name, value, persistent=False)

    def before_edge(self, x: Tensor) -> Tensor:
        spectrum = self.rows @ (x - 0.5) @ self.columns.mT
        return self.rows.mT @ (spectrum * self.kept) @ self.columns + 0.5

    def penalty(self, z: Tensor, step: Step) -> Tensor | None:
        trace, clear = self.look(step, graph=self.suppression > 0)
        if not self.suppression:
            return None
        trace = trace.mean()
        noise = self.sigma.square().clamp(min=1e-12) * trace / trace.detach().clamp(min=1e-12)
        return self.suppression * 0.5 * torch.log1p(clear.flatten(1).var(0, correction=0) / noise).mean()


def cosines(n: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of n values as a matrix (n, n), the constant first."""
    k = torch.arange(n, dtype=torch.double)
    matrix = (pi / n * (k + 0.5) * k[:, None]).cos() * (2 / n) ** 0.5
    matrix[0] /= 2**0.5
    return matrix.float()
