"""Adversarial representation learning: features from which a private attribute cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.guesser import Guesser, cross_entropy
from splitpriv.types import Count, NonNegative, Positive, Shape, Spec, Step


class Arl(Defense):
    """min over edge and cloud of CE(y) − weight·CE(q(z), s), while q descends CE(q(z), s) (the ML-ARL of Roy & Boddeti
    2019, arXiv 1904.05514, after Xie et al. 2017; numbers of equations not at hand). With their trade-off α the weight
    is α/(1 − α).

    s is the data set's private `attribute`; null: each that it has, a classifier and a term for each. q takes `steps`
    steps a batch on detached features. The edge learns from s, which the device needs in training and never sends.

    Open: the paper's game has no bound below, so that an edge which makes q confidently wrong gains most; whoever
    trains a new q then reads s off again. Judge it by attack=[probe], which does, not by its own adversary.
    """

    adaptive: ClassVar[frozenset[str]] = frozenset({"attribute"})
    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(0.01, 10.0))"}

    def __init__(self, *, attribute: str | None, classifier: Callable[..., nn.Module], weight: NonNegative,
                 lr: Positive, steps: Count) -> None:  # fmt: skip
        super().__init__()
        self.guesser = Guesser(classifier, attribute, lr)
        self.weight, self.adversary_steps = weight, steps

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.guesser.attach(shape, spec)

    def adversary_parameters(self) -> list[nn.Parameter]:
        return list(self.guesser.parameters())

    def adversary_optimizer(self) -> torch.optim.Optimizer:
        return self.guesser.optimizer()

    def adversary_loss(self, z: Tensor, step: Step) -> Tensor:
        return self.guesser.loss(z, step)

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        return -self.weight * cross_entropy(self.guesser.frozen(z), step.attributes)
