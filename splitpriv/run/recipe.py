"""How a network is trained, apart from its training, so that a run can be checked without Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from splitpriv.types import Count, Positive, Rate


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The `optim` group: epochs, batch size, largest gradient norm, optimiser, and how its rates change.

    Either per epoch, by `schedule`, or at every step, whatever the schedule says: with `rise` they climb over this
    share of a phase and fall to zero over the rest of it, both linearly.
    """

    key_name: ClassVar[str] = "splitpriv.fit.Recipe"
    added: ClassVar[Mapping[str, object]] = {"rise": None}

    epochs: Count
    batch: Count
    clip: Positive | None
    optimizer: Callable[..., torch.optim.Optimizer]
    schedule: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None
    rise: Rate | None

    def pace(self, optimizer: torch.optim.Optimizer, done: float) -> None:
        """Set the rates of a step that is taken when the share `done` of its phase is."""
        if self.rise is None:
            return
        share = done / self.rise if done < self.rise else (1 - done) / (1 - self.rise)
        for group in optimizer.param_groups:
            group["lr"] = share * group.setdefault("initial_lr", group["lr"])


class Untrained(Recipe):
    """No training: a network is attacked and measured as it is."""

    added: ClassVar[Mapping[str, object]] = {}

    def __init__(self, *, epochs: Literal[0]) -> None:
        super().__init__(epochs=epochs, batch=128, clip=None, optimizer=torch.optim.SGD, schedule=None, rise=None)
