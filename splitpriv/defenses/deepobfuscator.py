"""Two adversaries at once: one rebuilds the image, the other reads private attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from splitpriv.defenses.adversarial import CoDecoder
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.guesser import Guesser, cross_entropy
from splitpriv.stats.ssim import Padding, ssim
from splitpriv.types import Count, NonNegative, Positive, Shape, Spec, Step


class DeepObfuscator(Defense):
    """min over edge and cloud of CE(y) + image·SSIM(D(z), x) − private·CE(q(z), s), while D ascends the SSIM and q
    descends its cross-entropy (after Li et al., IoTDI 2021, arXiv 1909.04126).

    Both adversaries take `steps` steps a batch on detached features, with one Adam. s is the data set's `attribute`;
    null: each that it has.

    Open: the paper's body was not at hand, so its equations have no numbers here. It measures MS-SSIM, which needs
    images of at least 161 pixels; at the sizes of this house SSIM at one scale stands for it. The public benchmark
    that bears its name has no attribute adversary at all.
    """

    adaptive: ClassVar[frozenset[str]] = frozenset({"attribute"})
    strength: ClassVar[Mapping[str, str]] = {"image": "tag(log, interval(0.01, 10.0))"}

    def __init__(self, *, decoder: Callable[..., nn.Module], image: NonNegative, padding: Padding,
                 attribute: str | None, classifier: Callable[..., nn.Module], private: NonNegative, lr: Positive,
                 steps: Count) -> None:  # fmt: skip
        super().__init__()
        self.decoder = CoDecoder(decoder, "ssim", padding, lr)
        self.guesser = Guesser(classifier, attribute, lr)
        self.image, self.private, self.padding, self.adversary_steps = image, private, padding, steps

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.decoder.attach(shape, spec.image)
        self.guesser.attach(shape, spec)

    def adversary_parameters(self) -> list[nn.Parameter]:
        return [*self.decoder.parameters(), *self.guesser.parameters()]

    def adversary_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.adversary_parameters(), lr=self.decoder.lr, fused=True)

    def adversary_loss(self, z: Tensor, step: Step) -> Tensor:
        return self.decoder.loss(z, step.x) + self.guesser.loss(z, step)

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        seen = ssim(self.decoder.frozen(z), step.x, self.padding).mean()
        return self.image * seen - self.private * cross_entropy(self.guesser.frozen(z), step.attributes)
