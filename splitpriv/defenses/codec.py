"""Codec: a defence by rate. z is quantised uniformly and entropy coded, and what has no bits left is not told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import NonNegative, Positive, Shape, Spec, Step

RATE = 0.02  # of the running mean and deviation, once they have seen 1 / RATE batches


class Codec(Defense):
    """z is normalised by one mean and one deviation, quantised uniformly, and restored, after MPEG's feature coding.

    A value's level is round((z − mean)/(`step`·deviation)), clipped to 2^`bits` levels; mean and deviation are those of
    all training values, running in training and fixed at deployment, so that no scale of z escapes the step. The coder
    after it loses nothing, so the release is the restored feature, and its length is what `cost/bits_per_image`
    measures: the ideal code length of levels, fitted on other images. Gradients pass straight through the rounding and
    stop where it clips, in training and for an attack. `weight` adds the mean code length of a value, bits, under a
    Laplace law of the batch's spread per channel, so that the network learns to need few.

    Open: FCM (ISO/IEC 23888-4, its test model) packs levels of 10 bits into frames of a video codec, which exploits
    neighbours and codes its own losses; here values are coded one by one and only the quantiser loses. The standard
    states rates and accuracies and claims no privacy; numbers of its equations are not at hand.
    """

    mean: Tensor
    deviation: Tensor
    seen: Tensor
    strength: ClassVar[Mapping[str, str]] = {"step": "tag(log, interval(0.1, 8.0))"}

    def __init__(self, *, step: Positive, bits: Annotated[int, Interval(ge=2, le=16)], weight: NonNegative) -> None:
        super().__init__()
        self.step, self.levels, self.bits, self.weight = step, 2**bits, float(bits), weight
        for name in ("mean", "deviation", "seen"):
            self.register_buffer(name, torch.zeros(()))

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.axes = (0, 2, 3) if len(shape) == 3 else tuple(range(len(shape)))

    def after_edge(self, z: Tensor) -> Tensor:
        width, low = self._width(), self.mean - self.levels // 2 * self._width()
        high = low + (self.levels - 1) * width
        inside = z.clamp(low, high)
        level = ((inside.detach() - self.mean) / width).round()
        return level * width + self.mean + (inside - inside.detach())

    def _width(self) -> Tensor:
        """Of a level, in units of z; before anything was seen, of a z of deviation 1."""
        return self.step * torch.where(self.seen > 0, self.deviation, 1.0).clamp(min=1e-12)

    def penalty(self, z: Tensor, step: Step) -> Tensor | None:
        return self.weight * self.code_length(z) if self.weight else None

    def code_length(self, z: Tensor) -> Tensor:
        """Mean bits of a value of z (N, ...): −log2 of its level's probability under a Laplace law per channel."""
        width = self._width()
        centred = z - z.mean(self.axes, keepdim=True)
        scale = centred.abs().mean(self.axes, keepdim=True) + 1e-3 * width
        distance = centred.abs()
        # mass of [d − w/2, d + w/2]: by its two tails outside the centre, by one minus them around it
        near = 1 - 0.5 * (
            (-(width / 2 - distance).clamp(min=0) / scale).exp() + (-(distance + width / 2) / scale).exp()
        )
        far = math.log(0.5) - (distance - width / 2).clamp(min=0) / scale + torch.log1p(-(-width / scale).exp() + 1e-12)
        nats = torch.where(distance < width / 2, near.clamp(min=1e-12).log(), far)
        return -nats.mean() / math.log(2)

    @torch.no_grad()
    def on_step_end(self, z: Tensor, step: Step) -> None:
        self.seen += 1
        rate = (1 / self.seen).clamp(min=RATE)
        self.mean.lerp_(z.mean(), rate)
        self.deviation.lerp_(z.std(), rate)
