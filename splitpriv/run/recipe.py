"""How a network is trained, apart from its training, so that a run can be checked without Lightning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from splitpriv.types import Count, Positive


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The `optim` group: epochs, batch size, largest gradient norm, optimiser and per-epoch schedule."""

    key_name: ClassVar[str] = "splitpriv.fit.Recipe"

    epochs: Count
    batch: Count
    clip: Positive | None
    optimizer: Callable[..., torch.optim.Optimizer]
    schedule: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None


class Untrained(Recipe):
    """No training: a network is attacked and measured as it is."""

    def __init__(self, *, epochs: Literal[0]) -> None:
        super().__init__(epochs=epochs, batch=128, clip=None, optimizer=torch.optim.SGD, schedule=None)
