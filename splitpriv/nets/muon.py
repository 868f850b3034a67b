"""Muon: momentum whose updates are orthogonal, filter bank by filter bank (Jordan et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from splitpriv.types import Count, NonNegative, Positive, Rate

QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: singular values go to about 1 in five iterations


class MuonSGD(torch.optim.Optimizer):
    """Muon for filter banks, Nesterov SGD for biases, norms and layers without filters, as in airbench (Jordan 2024).

    A bank (O, I, k, k) counts as an O x Ikk matrix; its update has singular values of about 1, times
    sqrt(max(1, O / Ikk)). `lr` and `momentum` are those of banks, `rest_lr` and `rest_momentum` of the rest;
    `iterations` of Newton and Schulz: each costs a bank about 4 O² Ikk operations, whatever the batch. Decay is
    decoupled for banks, where an update has a size of its own, and part of the gradient for the rest.
    """

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], *, lr: Positive, momentum: Rate, iterations: Count,
        rest_lr: Positive, rest_momentum: Rate, weight_decay: NonNegative,
    ) -> None:  # fmt: skip
        rates = {True: {"lr": lr, "momentum": momentum}, False: {"lr": rest_lr, "momentum": rest_momentum}}
        groups: list[dict[str, Any]] = []
        for given in params:
            group: dict[str, Any] = given if isinstance(given, dict) else {"params": [given]}
            for banks, own in rates.items():
                groups.append(
                    {**group, "params": [p for p in group["params"] if is_bank(p) == banks], "banks": banks, **own}
                )
        super().__init__(_merged(groups), {"weight_decay": weight_decay})
        self.iterations = iterations

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                slope = p.grad if group["banks"] else p.grad.add(p, alpha=decay)
                speed = self.state[p].setdefault("speed", torch.zeros_like(p))
                speed.mul_(momentum).add_(slope)
                update = slope.add(speed, alpha=momentum)
                if group["banks"]:
                    matrix = orthogonal(update.flatten(1), self.iterations)
                    update = matrix.view(p.shape) * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                    p.mul_(1 - rate * decay)
                p.sub_(update, alpha=rate)


def is_bank(p: Tensor) -> bool:
    """Whether these are filters of several outputs, rather than a bias, a matrix or a map."""
    return p.dim() == 4 and len(p) > 1


def _merged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One group for all parameters that are treated alike, the rest first: a run is told by the rate of its first."""
    out: dict[str, dict[str, Any]] = {}
    for group in sorted(groups, key=lambda g: bool(g["banks"])):
        alike = repr({k: v for k, v in group.items() if k != "params"})
        out.setdefault(alike, {**group, "params": []})["params"] += group["params"]
    return [group for group in out.values() if group["params"]]


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """A matrix with the singular vectors of `matrix` (m, n) and singular values of about 1, by Newton-Schulz."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
