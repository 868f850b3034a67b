"""The white-box search: from a guess to the image whose expected release matches; aux chooses the prior's weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from splitpriv import host, progress
from splitpriv.attacks.base import even
from splitpriv.attacks.rmle import GREY_LEVEL
from splitpriv.attacks.suite.lab import Found, Lab, mse
from splitpriv.store import state

TV = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # weights of the total variation, as is all of this
ANCHOR = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # of the squared distance from the start
RATE = 0.02  # pixels per step, along a cosine to zero
SHORT = 50  # steps by which the weights are chosen
ALONE, STRIDE = 400, 0.1  # steps of a search that starts from grey, and its rate
GAIN = 0.02  # twice the steps that gain less are not taken
BATCH = 64


@dataclass(frozen=True)
class Plan:
    """How to search: weights of total variation and of the distance from the start, and Adam's steps."""

    tv: float
    anchor: float
    steps: int


def descend(lab: Lab, releases: Tensor, start: Tensor, plan: Plan, *, rate: float = RATE,
            unit: Tensor | None = None) -> Tensor:  # fmt: skip
    """Images (N, C, H, W) from `start`, of the same shape, down distance + tv TV + anchor |x - start|^2 by Adam.

    All are means per image, summed over the batch: an image does not depend on who shares its batch. Distances are in
    units of `unit` (N,), if given; `rate`: pixels per step at first.
    """
    free = start.clamp(0, 1).clone(memory_format=torch.contiguous_format).requires_grad_()
    pull = 2 * plan.anchor / free[0].numel()
    adam = torch.optim.Adam([free], rate, betas=(0.9, 0.99), fused=True)
    with torch.enable_grad(), torch.autocast(free.device.type, enabled=False):
        for step in progress.steps(f"descent of {len(free)} images", plan.steps):
            adam.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / plan.steps)) / 2
            distance = lab.distance(free, releases)
            loss = (distance if unit is None else distance / unit).sum()
            (slope,) = torch.autograd.grad(loss, free)  # the target's parameters gather no gradients
            with torch.no_grad():
                slope = slope.contiguous().add_(
                    steepness(free), alpha=plan.tv
                )  # a fused step reads memory in its order
                free.grad = slope.add_(free - start, alpha=pull) if pull else slope
                adam.step()
                free.clamp_(0, 1)
    return free.detach()


def steepness(x: Tensor) -> Tensor:
    """The gradient of `variation(x, 1.0)` of each image x (N, C, H, W) in closed form, twice as fast as by autograd."""
    across, down = x.diff(dim=-1), x.diff(dim=-2)
    square = torch.full_like(x, GREY_LEVEL**2)
    square[..., :-1].addcmul_(across, across)
    square[..., :-1, :].addcmul_(down, down)
    inverse = square.rsqrt_().mul_(1 / x[0].numel())
    across, down = across.mul_(inverse[..., :-1]), down.mul_(inverse[..., :-1, :])
    slope = torch.zeros_like(x)
    slope[..., 1:] += across
    slope[..., :-1] -= across
    slope[..., 1:, :] += down
    slope[..., :-1, :] -= down
    return slope


class Search:
    """A fitted search from what `start` gives; finished batches of victims are kept in the member's folder.

    The weights start in the middle of their grids and walk downhill by the MSE on `tune` images held out of aux; then
    the steps double, at most to `most`, while that gains.
    """

    short = SHORT
    weighed: tuple[tuple[str, tuple[float, ...]], ...] = (("tv", TV), ("anchor", ANCHOR), ("tv", TV))

    def __init__(self, lab: Lab, name: str, start: Found, tune: int, most: int) -> None:
        self.lab, self.name, self.start, self.tune, self.most = lab, name, start, tune, most
        self.home = lab.room(name)
        self.tried: dict[Plan, float] = {}
        self.settled = False
        self.plan = self._chosen()

    @property
    def report(self) -> dict[str, Any]:
        """The plan, what it achieved on aux, and what more steps would gain."""
        return {**asdict(self.plan), "held": self.tried[self.plan], "settled": self.settled, "gain": self.gain}

    @property
    def gain(self) -> float:
        """The share of the error that the last doubling of the steps took away; 1 where none was tried."""
        counts = {p.steps: v for p, v in self.tried.items() if (p.tv, p.anchor) == (self.plan.tv, self.plan.anchor)}
        last = max(counts)
        return max(0.0, 1 - counts[last] / counts[last // 2]) if last // 2 in counts else 1.0

    def __call__(self, releases: Tensor) -> Tensor:
        index = torch.arange(len(releases))
        with progress.bar(self.name, len(releases), unit="image") as bar:
            images = []
            for part in even(index, BATCH):
                r = releases[part.to(releases.device)]
                images.append(self.descend(r, self.start(r), self.plan))
                bar.update(len(part))
        return torch.cat(images)

    def descend(self, releases: Tensor, start: Tensor, plan: Plan) -> Tensor:
        """Where the search ends by `plan`, (N, C, H, W)."""
        return descend(self.lab, releases, start, plan)

    def _chosen(self) -> Plan:
        path = self.home / "plan.pt"
        _, notes = state.load_state(path, {})
        self.tried = {Plan(*key): value for key, value in (notes or {"tried": []})["tried"]}
        x, releases = (t[: self.tune] for t in self.lab.pairs("held"))
        start = self.start(releases)

        def score(plan: Plan) -> float:
            if plan not in self.tried:
                parts = zip(releases.split(BATCH), start.split(BATCH), strict=True)
                images = torch.cat([self.descend(r, s, plan) for r, s in parts])
                self.tried[plan] = host.to_host(mse(images, x)[None])[0]
                kept = [((p.tv, p.anchor, p.steps), value) for p, value in self.tried.items()]
                state.save_state(path, len(kept), {}, {"tried": kept})
                bar.update()
            return self.tried[plan]

        with progress.bar(f"{self.name}: choice on aux", None, unit="plan") as bar:
            plan = Plan(0.1, 0.0, min(self.short, self.most))
            for field, grid in self.weighed:
                plan = self._downhill(plan, field, grid, score)
            while not self.settled and 2 * plan.steps <= self.most:
                longer = replace(plan, steps=2 * plan.steps)
                self.settled = score(longer) > (1 - GAIN) * score(plan)
                plan = min(plan, longer, key=score)
        return plan

    @staticmethod
    def _downhill(plan: Plan, field: str, grid: tuple[float, ...], score: Any) -> Plan:
        while True:
            place = grid.index(getattr(plan, field))
            near = [
                replace(plan, **dict[str, Any]({field: grid[i]})) for i in (place - 1, place + 1) if 0 <= i < len(grid)
            ]
            best = min(near, key=score)
            if score(best) >= score(plan):
                return plan
            plan = best


class Unaided(Search):
    """A search from grey, for victims unlike aux: from there it takes the weight of total variation alone.

    Distances are in units of the grey image's, so that the weight means the same far from aux; a strong one leads past
    the minima that lie on the way.
    """

    short = ALONE
    weighed = (("tv", TV),)

    def __init__(self, lab: Lab, tune: int) -> None:
        grey = partial(torch.full, size=lab.access.spec.image, fill_value=0.5, device=lab.access.device)
        super().__init__(lab, "unaided", lambda releases: grey().expand(len(releases), -1, -1, -1), tune, ALONE)

    def descend(self, releases: Tensor, start: Tensor, plan: Plan) -> Tensor:
        with torch.no_grad():
            unit = self.lab.distance(start, releases).clamp_min(1e-12)
        return descend(self.lab, releases, start, plan, rate=STRIDE, unit=unit)
