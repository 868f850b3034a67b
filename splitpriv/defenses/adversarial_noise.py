"""Adversarial noise: an adversarial example against an inversion decoder, added to what is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.defenses.adversarial import CoDecoder, Loss, Opposed
from splitpriv.defenses.base import Defended
from splitpriv.types import Count, NonNegative, Positive, Shape, Spec, Step


class AdversarialNoise(Opposed):
    """z − ε·sign(∇_z MSE(D(z), x̄)): one step of FGSM against a decoder D, which learns to invert z beside the target.

    x̄ is the mean training image: D is led to answer it, the worst that an inversion need be. Training and deployment
    alike, D going with the device; the cloud learns on what is sent, D on z before it. It is a known function of z,
    without any randomness: an attack that is trained on releases, or differentiates through them (the sign passes
    gradients straight through), knows it, and what fools D need not fool the next decoder.

    Open: Wen, Yiu & Hui (Defending against model inversion attack by adversarial examples, CSR 2021), and ResSFL's code
    as a baseline of ε .05 to .10 (Li et al. 2022), ascend D's error at the true image, for which the noise needs x
    beside z; a link of a chain here has z alone. Whether the decoder of the attack may differ from D is left open by
    both; here every attack trains its own. Numbers of equations are not at hand.
    """

    centre: Tensor
    seen: Tensor
    strength: ClassVar[Mapping[str, str]] = {"epsilon": "tag(log, interval(0.01, 3.0))"}

    def __init__(self, *, net: Callable[..., nn.Module], epsilon: NonNegative, inner_loss: Loss, lr: Positive,
                 steps: Count) -> None:  # fmt: skip
        super().__init__()
        self.decoder = CoDecoder(net, inner_loss, "reflect", lr)
        self.epsilon, self.adversary_steps = epsilon, steps

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        super().attach(model, spec, shape)
        self.register_buffer("centre", torch.full(spec.image, 0.5))
        self.register_buffer("seen", torch.zeros(()))

    def after_edge(self, z: Tensor) -> Tensor:
        with torch.enable_grad():
            free = z.detach().requires_grad_()
            image = self.decoder.frozen(free * 1)  # no leaf, as counting of operations wants a module's inputs
            (slope,) = torch.autograd.grad(F.mse_loss(image, self.centre.expand_as(image), reduction="sum"), free)
        return z - self.epsilon * slope.sign()

    @torch.no_grad()
    def on_step_end(self, z: Tensor, step: Step) -> None:
        self.seen += 1
        self.centre.lerp_(step.x.mean(0), (1 / self.seen).clamp(min=0.02))
