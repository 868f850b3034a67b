"""Classification: the task of nearly all papers."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.measure.measure import utility
from splitpriv.stats.classification import blind
from splitpriv.tasks.base import Task
from splitpriv.types import Rate, Spec, Step


class Classify(Task):
    """Cross-entropy on the labels, with smoothed targets if `smoothing` > 0; judged by accuracy on the victims, beside
    which stands balanced accuracy: where one class is nearly all, whoever always answers it is accurate.
    """

    def __init__(self, *, smoothing: Rate) -> None:
        self.smoothing = smoothing

    def terms(self, model: Defended, released: Tensor, step: Step) -> tuple[dict[str, Tensor], Tensor]:
        logits = model.classify(released)
        loss = F.cross_entropy(logits, step.y, label_smoothing=self.smoothing)
        return {"task": loss}, logits.detach().argmax(1) == step.y

    def utility(self, model: Defended, splits: Mapping[str, Split], *, draws: int, batch: int) -> dict[str, float]:
        return utility(model, splits["victims"], draws=draws, batch=batch)

    def chance(self, splits: Mapping[str, Split]) -> dict[str, float]:
        """The accuracies of whoever always answers the commonest label of the victims."""
        return blind(splits["victims"].y)

    def gaps(self, splits: Mapping[str, Split], spec: Spec) -> dict[str, list[int]]:
        return {name: sorted(set(range(spec.classes)) - set(splits[name].y.tolist())) for name in ("train", "victims")}
