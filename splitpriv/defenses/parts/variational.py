"""What variational bottlenecks share, wherever they stand: the weight of the KL, its warm-up, what the row says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from splitpriv.defenses.base import Defense
from splitpriv.types import Epoch, Step, UserError

Reduction = Literal["sum", "mean"]


class Bottleneck(Defense):
    """Penalty β·KL(q(z|x) ‖ N(0, I)), averaged over the batch; its sum over the code bounds I(x; z) from above.

    `kl_reduction`: β weighs the sum over the `size` entries of a code, or their mean; `facts` has both. β grows from 0
    over the first `warmup` share of a phase. A code that is drawn at deployment calls for an attack that averages.
    """

    adaptive = frozenset({"draws"})
    information: Tensor  # nats, over the last epoch of training
    seen: Tensor  # their sum and how many steps, so far in this epoch
    size: int = 0

    def __init__(self, beta: float, kl_reduction: Reduction, warmup: float, sample_at_test: bool) -> None:
        super().__init__()
        self.beta, self.kl_reduction, self.warmup = beta, kl_reduction, warmup
        self.steady = not warmup
        if not sample_at_test:
            self.adaptive = frozenset()  # type: ignore[misc]
        self.register_buffer("information", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(2), persistent=False)

    def validate(self, chain: Mapping[str, Defense]) -> None:
        parts = {"edge", "cloud", "defense"}
        if any(phase.idle or set(phase.train) != parts for link in chain.values() for phase in link.phases):
            name = next(n for n, link in chain.items() if link is self)
            raise UserError(f"defense.{name}: its layers learn with the network, but another defence of the chain "
                            "trains them in phases of its own; list only one of the two")  # fmt: skip

    def weigh(self, kl: Tensor, step: Step) -> Tensor:
        """The penalty from the KL (N, ...) of every entry."""
        total = kl.flatten(1).sum(1).mean()
        if self.training:
            now = total.detach()
            self.seen += torch.stack([now, torch.ones_like(now)])
        ramp = min(1.0, step.progress / self.warmup) if self.warmup else 1.0
        return ramp * self._weights()[0] * total

    def on_epoch_end(self, epoch: Epoch) -> None:
        total, steps = self.seen
        self.information.copy_(torch.where(steps > 0, total / steps, self.information))
        self.seen.zero_()

    def _weights(self) -> tuple[float, float]:
        """β as it weighs the sum over the code, and its mean."""
        return (self.beta, self.beta * self.size) if self.kl_reduction == "sum" else (self.beta / self.size, self.beta)

    @property
    def facts(self) -> Mapping[str, float | str]:
        of_sum, of_mean = self._weights()
        return {"size": float(self.size), "beta_of_sum": of_sum, "beta_of_mean": of_mean,
                "information_nats": float(self.information)}  # fmt: skip
