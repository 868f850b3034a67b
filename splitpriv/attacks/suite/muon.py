"""Muon: momentum whose updates are orthogonal, filter bank by filter bank; the suite's nets need half Adam's steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from splitpriv.nets.muon import QUINTIC as QUINTIC
from splitpriv.nets.muon import orthogonal

MOMENTUM = 0.9
ADAM_SHARE = 0.1  # of Muon's rate: what Adam moves biases, norms and layers without filters by


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the convolutions of `net`, AdamW for what else it has.

    A bank (O, I, k, k) counts as an O x Ikk matrix; its update has singular values of about 1, times
    sqrt(max(1, O / Ikk)). `rate` is that of the convolutions.
    """

    def __init__(self, net: nn.Module, rate: float) -> None:
        banks = [p for p in net.parameters() if p.dim() == 4]
        rest = [p for p in net.parameters() if p.dim() != 4]
        groups: list[dict[str, Any]] = [{"params": banks, "muon": True, "base": rate}]
        groups.append({"params": rest, "muon": False, "base": ADAM_SHARE * rate})
        super().__init__(groups, {"lr": rate})

    def set_share(self, share: float) -> None:
        """Run at this share of the full rates."""
        for group in self.param_groups:
            group["lr"] = share * group["base"]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    (self._muon if group["muon"] else self._adam)(p, p.grad, group["lr"])

    def _muon(self, p: Tensor, slope: Tensor, rate: float) -> None:
        mean = self.state[p].setdefault("mean", torch.zeros_like(p))
        mean.lerp_(slope, 1 - MOMENTUM)
        update = orthogonal(slope.lerp(mean, MOMENTUM).flatten(1))
        size = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        p.add_(update.view_as(p), alpha=-rate * size)

    def _adam(self, p: Tensor, slope: Tensor, rate: float) -> None:
        own = self.state[p]
        if not own:
            own |= {"mean": torch.zeros_like(p), "square": torch.zeros_like(p), "steps": torch.zeros(())}
        own["steps"] += 1
        own["mean"].lerp_(slope, 0.1)
        own["square"].lerp_(slope.square(), 0.01)
        mean = own["mean"] / (1 - 0.9 ** own["steps"])
        square = own["square"] / (1 - 0.99 ** own["steps"])
        p.sub_(rate * mean / (square.sqrt() + 1e-8))
