"""AIOI: features whose private information stays within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from splitpriv.defenses.arl import Arl
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.guesser import information
from splitpriv.types import Count, NonNegative, Positive, Shape, Spec, Step


class Aioi(Arl):
    """min over edge and cloud of CE(y) + weight·Σ max(I_q(z; s) − budget, 0)², while q descends CE(q(z), s). I_q is
    mean KL(q(s|z) ‖ P(s)), nats: what q finds of an attribute s in z; the sum is over attributes (Bertran et al., ICML
    2019, their budget for I(S; Q) as a penalty).

    P(s) is how often a value is found in training, so that q is led to guess as whoever sees nothing would; `maxent`
    leads it to uniform guesses, which are right for values that are equally frequent only. Within the budget nothing
    pulls. P(s) counts the batches so far, after a first image of each value; settings are those of `arl`.

    Open: the paper also replaces images by sanitised ones, made by a U-Net from x and noise, for services that exist;
    here edge and cloud learn. A public benchmark, from which the square and λ = 3, budget 1e-4 are known to us, takes
    the divergence of sigmoids without a logarithm, which is no divergence. The information is that of one q.

    Source: Bertran, Martinez, Papadaki, Qiu, Rodrigues, Reeves & Sapiro, Adversarially Learned Representations for
    Information Obfuscation and Inference, ICML 2019; numbers of equations not at hand.
    """

    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(0.1, 100.0))"}

    def __init__(self, *, attribute: str | None, classifier: Callable[..., nn.Module], weight: NonNegative,
                 budget: NonNegative, lr: Positive, steps: Count) -> None:  # fmt: skip
        super().__init__(attribute=attribute, classifier=classifier, weight=weight, lr=lr, steps=steps)
        self.budget = budget

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        super().attach(model, spec, shape)
        for name in self.guesser.nets:
            self.register_buffer(f"count_{name}", torch.ones(spec.attributes[name]))

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        told = [
            information(logits, self.get_buffer(f"count_{name}")) for name, logits in self.guesser.frozen(z).items()
        ]
        return self.weight * (torch.stack(told) - self.budget).clamp(min=0).square().sum()

    @torch.no_grad()
    def on_step_end(self, z: Tensor, step: Step) -> None:
        for name in self.guesser.nets:
            count = self.get_buffer(f"count_{name}")
            count += torch.zeros_like(count).scatter_add(0, step.attributes[name], count.new_ones(len(z)))
