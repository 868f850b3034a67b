"""A task: classification by a multi-class margin instead of cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.measure.measure import utility
from splitpriv.stats.classification import blind
from splitpriv.tasks.base import Task
from splitpriv.types import Positive, Step


class Margin(Task):
    """The multi-class hinge loss of Weston and Watkins (1999) with this `margin`, judged by accuracy on the victims."""

    def __init__(self, *, margin: Positive) -> None:
        self.margin = margin

    def terms(self, model: Defended, released: Tensor, step: Step) -> tuple[dict[str, Tensor], Tensor]:
        logits = model.classify(released)
        loss = F.multi_margin_loss(logits, step.y, margin=self.margin)
        return {"task": loss}, logits.detach().argmax(1) == step.y

    def utility(self, model: Defended, splits: Mapping[str, Split], *, draws: int, batch: int) -> dict[str, float]:
        return utility(model, splits["victims"], draws=draws, batch=batch)

    def chance(self, splits: Mapping[str, Split]) -> dict[str, float]:
        return blind(splits["victims"].y)
