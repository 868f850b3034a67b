"""Label smoothing with a negative weight, against attacks on what the cloud answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Interval
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.answers import Answers
from splitpriv.types import Fraction, Phase, Rate, Shape, Spec, Step, UserError


class LabelSmoothing(Defense):
    """L = (1 − α)·NLL + α·mean over classes of −log p_k (Struppek et al., ICLR 2024, arXiv 2310.06549; α is
    `alpha`). Below 0 it defends; above, as everywhere else, it makes features of a class alike and leaks more.

    α counts from the share `start` of the training on and rises linearly to its whole at `full`; the authors train 100
    epochs, start at 50 and end at 75. The term is what is left of L without the task's NLL, so task.smoothing adds.

    It speaks of attacks on answers, as the paper does. What a release shows of its image it does not touch on purpose.

    Open: α < 0 has no bound below, so that training must end; which α still learns depends on the classes.
    """

    adaptive: ClassVar[frozenset[str]] = frozenset()
    version = 2  # what a head that a later link put in answers
    strength: ClassVar[Mapping[str, str]] = {"alpha": "interval(-0.5, 0.0)"}

    def __init__(self, *, alpha: Annotated[float, Interval(gt=-1, lt=1)], start: Rate, full: Fraction) -> None:
        super().__init__()
        if full < start:
            raise UserError(f".full: {full} comes before start = {start}; set full >= start")
        self.alpha, self.start, self.full = alpha, start, full
        self.steady = full == 0

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.answers = Answers(model)

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        self.answers.listen()

    def weight(self, progress: float) -> float:
        """α at this share of the training."""
        if self.full == self.start:
            return self.alpha if progress >= self.full else 0.0
        return self.alpha * min(1.0, max(0.0, (progress - self.start) / (self.full - self.start)))

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        logs = self.answers.take(z).log_softmax(1)
        own = logs.gather(1, step.y[:, None])[:, 0]
        return self.weight(step.progress) * (own - logs.mean(1)).mean()
