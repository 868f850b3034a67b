"""What the cloud is trained for and judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.types import Spec, Step


class Task:
    """The service that the cloud renders. `headline` names the one of its `utility` numbers that a row shows first."""

    version: ClassVar[int] = 1
    headline: ClassVar[str] = "accuracy"

    def validate(self, model: Defended, spec: Spec) -> None:
        """Raise UserError where the task does not fit the network or the data set; called before data is read."""

    def require(self, splits: Mapping[str, Split]) -> None:
        """Raise UserError where these splits leave nothing to judge it by; called before anything is trained."""

    def others(self, batch: int, spec: Spec) -> float:
        """How many images of an image's own class a batch holds beside it, on average."""
        return (batch - 1) / spec.classes

    def batches(self, train: Split, batch: int) -> Tensor:
        """One epoch's training images, (steps, batch), on the device of the labels: by default a fresh random order.

        What does not fill a batch waits for another epoch.
        """
        n = len(train)
        batch = min(batch, n)
        return torch.randperm(n)[: n // batch * batch].view(-1, batch).to(train.y.device)

    def terms(self, model: Defended, released: Tensor, step: Step) -> tuple[dict[str, Tensor], Tensor]:
        """The task's part of the loss from releases (N, ...): named scalars, which add up, and who was right, (N,)."""
        raise NotImplementedError

    def utility(self, model: Defended, splits: Mapping[str, Split], *, draws: int, batch: int) -> dict[str, float]:
        """What the service is worth, from `draws` releases of every image."""
        raise NotImplementedError

    def chance(self, splits: Mapping[str, Split]) -> dict[str, float]:
        """What whoever never looks at a release would reach in the same numbers, where that is known."""
        return {}

    def tested(self, splits: Mapping[str, Split]) -> int:
        """From how many images the headline is a mean."""
        return len(splits["victims"])

    def gaps(self, splits: Mapping[str, Split], spec: Spec) -> dict[str, list[int]]:
        """The classes of which a split has no image though it should, by split: train, victims."""
        return {}
