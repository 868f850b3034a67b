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
    """L = (1 − α)·NLL + α·mean over classes of −log p_k (Struppek et al., ICLR 2024, arXiv 2310.06549; numbers of
    equations not at hand). Below 0 the α (`alpha`) defends; above it makes features of a class alike and leaks more.

    α is 0 up to the share `start` of the training and rises linearly to its whole at `full`, epoch by epoch: epoch e,
    from 0, has that of its end, α·(e + 1 − 50)/(75 − 50) from 50 to 75 of the authors' 100. In copies of their code the
    rise is towards epoch 100, so that α leaps from a half to its whole at 75; their paper's is not at hand. The term is
    what is left of L without the task's NLL, so task.smoothing adds.

    It speaks of attacks on answers, as the paper does. What a release shows of its image it does not touch on purpose.

    Open: α < 0 has no bound below, so that training must end; which α still learns depends on the classes.
    """

    adaptive: ClassVar[frozenset[str]] = frozenset({"network"})
    version = 3  # an epoch's weight is that of its end
    strength: ClassVar[Mapping[str, str]] = {"alpha": "interval(-0.9, 0.0)"}

    def __init__(self, *, alpha: Annotated[float, Interval(gt=-1, lt=1)], start: Rate, full: Fraction) -> None:
        super().__init__()
        if full < start:
            raise UserError(f".full: {full} comes before start = {start}; set full >= start")
        self.alpha, self.start, self.full = alpha, start, full

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.answers = Answers(model)

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        self.answers.listen()

    def weight(self, epoch: int, length: float) -> float:
        """α in an epoch, from 0, of a training of `length`."""
        done = min(1.0, (epoch + 1) / length)
        if self.full == self.start:
            return self.alpha if done > self.start else 0.0
        return self.alpha * min(1.0, max(0.0, (done - self.start) / (self.full - self.start)))

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        logs = self.answers.take(z).log_softmax(1)
        own = logs.gather(1, step.y[:, None])[:, 0]
        return self.weight(step.epoch, step.length) * (own - logs.mean(1)).mean()
