"""What the cloud is trained for and judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.held import scalar
from splitpriv.types import Spec, Step, UserError

NOTED = ("phase", "epoch", "lr")  # what else a learning curve holds


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


def ordered(task: Task, train: Split, batch: int) -> Tensor:
    """The `batches` of an epoch; UserError where they are no places of training images, (steps, batch)."""
    order: Any = task.batches(train, batch)
    told = f"{tuple(order.shape)} in {order.dtype}" if isinstance(order, Tensor) else f"a {type(order).__name__}"
    if not isinstance(order, Tensor) or order.dtype != torch.int64 or order.dim() != 2 or not order.numel():
        raise UserError(f"task: {type(task).__name__}.batches makes {told}; return (steps, batch) places of training "
                        "images, one step at least, in torch.int64")  # fmt: skip
    return order


def placed(task: Task, order: Tensor, train: Split) -> int:
    """The steps of an epoch in such an `order`; UserError where it asks for images that are not there."""
    low, high = int(order.min()), int(order.max())  # once a phase, before a step: on a GPU nothing else would name it
    if not 0 <= low <= high < len(train):
        raise UserError(f"task: {type(task).__name__}.batches makes places from {low} to {high} of {len(train)} "
                        "images; keep to these")  # fmt: skip
    return len(order)


def answered(task: Task, model: Defended, released: Tensor, step: Step) -> tuple[dict[str, Tensor], Tensor]:
    """The `terms` of a step; UserError where they are no named scalars, or do not say of each image who was right."""
    called = f"task: {type(task).__name__}.terms"
    made: Any = task.terms(model, released, step)
    if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[0], Mapping) or not made[0]:
        raise UserError(f"{called} returns {made!r:.80}; return a dict of named losses, and who was right, (N,)")
    terms, right = made
    if reserved := [name for name in terms if name in NOTED or "/" in str(name)]:
        raise UserError(f"{called} calls a loss {reserved[0]!r}, which curves use otherwise; give it another name")
    for name, value in terms.items():
        scalar(value, f"{called}: {name}", learns=False)
    alone = not model.chain  # else a defence may be what teaches in this phase
    learns = alone and (released.requires_grad or any(p.requires_grad for p in model.net.cloud.parameters()))
    if learns and not any(value.requires_grad for value in terms.values()):
        scalar(next(iter(terms.values())), called)
    if not isinstance(right, Tensor) or right.shape != step.y.shape:
        told = tuple(right.shape) if isinstance(right, Tensor) else f"a {type(right).__name__}"
        raise UserError(f"{called} gives {told} as who was right; give {tuple(step.y.shape)}, one for each image")
    return dict(terms), right
