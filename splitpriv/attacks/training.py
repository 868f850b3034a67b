"""What the adversary's trainings share: epochs that survive being killed, the best one kept, and the nets' input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from splitpriv import host, progress
from splitpriv.attacks.base import Access, Attack, Reconstructor, even, flat
from splitpriv.store import state
from splitpriv.types import Shape, UserError

ENOUGH = 0.02  # relative gain of twice the effort below which there is no need for more
Select = Literal["best", "last"]
Curve = dict[str, list[float]]
DECAYED = 0.1  # share of its height below which a rate hides no further gain


@dataclass(frozen=True)
class Stop:
    """When a training ends, and which epoch of it is kept.

    A share `held` of the data shows the loss; `patience` epochs after the best one it ends (None: never early), and by
    `select` the best or the last is kept. Raises UserError where there would be nothing to select on.
    """

    held: float
    patience: int | None
    select: Select
    tolerance: float  # relative gain over the last quarter below which a training has converged

    def __post_init__(self) -> None:
        if self.held == 0 and (self.select == "best" or self.patience is not None):
            raise UserError(".held: 0 leaves nothing to select on; use select=last and patience=null")


@dataclass(frozen=True)
class Training:
    """A training of at most `epochs` epochs, ended and judged by `stop`.

    State lies in `path`, epochs are seeded by `key`, so that a killed training ends in the numbers that it would have
    had. Raises UserError when a loss stops being a number.
    """

    label: str
    path: Path
    key: str
    epochs: int
    stop: Stop

    def run(self, net: nn.Module, best: nn.Module, learners: Mapping[str, Any],
            epoch: Callable[[int], Mapping[str, Tensor]]) -> Curve:  # fmt: skip
        """The curve of what `epoch` returns (scalars by name: "train", perhaps "held"); `best` gets the chosen net."""
        parts = {"net": net, "best": best, **learners}
        done, curve = state.load_state(self.path, parts)
        curve = curve or {"train": [], "held": []}
        with progress.bar(self.label, self.epochs, initial=done) as bar:
            for index in range(done, self.epochs):
                if self._stale(curve["held"]):
                    break
                state.seed_epoch(self.key, index + 1)
                scalars = epoch(index)
                for name, value in zip(scalars, host.to_host(torch.stack(list(scalars.values()))), strict=True):
                    curve.setdefault(name, []).append(value)
                    if not math.isfinite(value):
                        raise UserError(f".lr: the loss became {value} in epoch {index + 1} ({name}); lower lr")
                if self.stop.select == "last" or curve["held"][-1] <= min(curve["held"]):
                    best.load_state_dict(net.state_dict())
                state.save_state(self.path, index + 1, parts, curve)
                bar.set_postfix({name: f"{values[-1]:.4f}" for name, values in curve.items() if values}, refresh=False)
                bar.update()
        return curve

    def settled(self, curve: Curve, blind: float | None = None, period: int | None = None) -> bool:
        """Whether the training had nothing left to gain: a plateau, at a rate that has decayed, of a training that
        learned something.

        `blind`: the loss of whoever never looks at a release, None where it is not known. `period`: epochs that the
        rate takes along its cosine, None: as many as there are. Ended by patience at a high rate, it has not settled.
        """
        shown = curve["held"] or curve["train"]
        turn = (len(shown) - 1) / (period or self.epochs)
        decayed = (1 + math.cos(math.pi * min(turn, 1))) / 2 <= DECAYED
        learned = blind is None or min(shown) < blind * (1 - self.stop.tolerance)
        return decayed and learned and flat(shown, self.stop.tolerance)

    def _stale(self, held: list[float]) -> bool:
        patience = self.stop.patience
        return patience is not None and len(held) - (held.index(min(held)) if held else 0) > patience


def shares(access: Access, key: str, held: float) -> tuple[Tensor, Tensor]:
    """Indices of aux: the part held out (at least one image, none where `held` is 0) and the rest, at least one, too;
    seeded by `key`."""
    state.seed_epoch(key, 0)
    order = torch.randperm(len(access.aux), device=access.device)
    apart = min(max(1, round(held * len(order))), len(order) - 1) if held else 0
    return order[:apart], order[apart:]


def cosine(optimizer: torch.optim.Optimizer, lr: float, min_lr: float, turn: float) -> None:
    """Set the rate to where a cosine from `lr` to `min_lr` stands after the share `turn` of its way."""
    for group in optimizer.param_groups:
        group["lr"] = min_lr + (lr - min_lr) * (1 + math.cos(math.pi * turn)) / 2


def learn(net: nn.Module, optimizer: torch.optim.Optimizer, index: Tensor, batch: int,
          loss_of: Callable[[Tensor], Tensor]) -> Tensor:  # fmt: skip
    """One pass over `index` (n,) in random order, a step of `net` per part; the mean loss."""
    net.train()
    total = torch.zeros((), device=index.device)
    for part in even(index[torch.randperm(len(index), device=index.device)], batch):
        loss = loss_of(part)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(part)
    return total / len(index)


@torch.no_grad()
def average(net: nn.Module, index: Tensor, batch: int, value_of: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean over `index` (n,) of what `value_of` says of each part, with `net` in evaluation mode."""
    net.eval()
    total = torch.zeros((), device=index.device)
    for part in even(index, batch):
        total += value_of(part) * len(part)
    return total / len(index)


def losses(train: Tensor, apart: Tensor, held: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """What an epoch reports: its training loss and, where some of aux is held `apart` (n,), the loss there."""
    return {"train": train, **({"held": held(apart)} if len(apart) else {})}


def label_entropy(labels: Tensor, values: int) -> float:
    """The cross-entropy, nats, of whoever always answers the frequencies of `labels` (N,): 0 .. `values` - 1."""
    share = (labels[:, None] == torch.arange(values, device=labels.device)).double().mean(0)
    return host.to_host(-torch.xlogy(share, share).sum()[None])[0]


def inner_home(home: Path, name: str) -> Path:
    """A folder in `home` for an attack within the attack; it is called like `home`, whose name seeds."""
    inner = home / name / home.name
    inner.mkdir(parents=True, exist_ok=True)
    return inner


def hardest(attack: Attack, access: Access, home: Path) -> Reconstructor:
    """The attack with as much effort as helps: `harder` and harder until that lowers its held-out loss by less than
    ENOUGH, the best by that loss kept. Its report tells how many `rounds` that took.
    """
    best = attack.fit(access, home)
    for turn in range(1, attack.rounds + 1):
        before = _least(best)
        for i, stronger in enumerate(attack.harder(turn)):
            fitted = stronger.fit(access, inner_home(home, f"round{turn}_{i}"))
            best = fitted if _least(fitted) < _least(best) else best
        best.report["rounds"] = turn
        if not _least(best) < before * (1 - ENOUGH):
            break
    return best


def _least(fitted: Reconstructor) -> float:
    return min(fitted.report.get("held") or [math.inf])


class Learned(Reconstructor):
    """A trained net; it stays in evaluation mode, so that scoring never moves its statistics."""

    def __init__(self, net: nn.Module, report: dict[str, Any]) -> None:
        super().__init__()
        self.net, self.report = net.requires_grad_(False), report
        self.train(False)

    def train(self, mode: bool = True) -> Learned:
        return super().train(False)

    def forward(self, releases: Tensor) -> Tensor:
        return self.net(releases).float()


class Standardise(nn.Module):
    """Releases (N, *shape) less their mean, entry by entry, over their channel's spread; as they are until measured."""

    mean: Tensor
    spread: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape[0], *[1] * (len(shape) - 1)))
        self.shape = shape  # of what comes out

    def measure(self, releases: Iterable[Tensor]) -> None:
        """Mean and spread of all `releases`; a channel that hardly varies grows by 1,000 times the others at most, and
        none by more than brings rounding errors of its size to one: a constant release becomes zeros."""
        count, total = 0, torch.zeros_like(self.mean, dtype=torch.float64)  # in fp32 an offset drowns squares
        squares = total
        for r in map(Tensor.double, releases):
            count, total, squares = count + len(r), total + r.sum(0), squares + r.square().sum(0)
        self.mean.copy_(total / count)
        variance = (squares / count - (total / count).square()).clamp_min(0).view(len(self.spread), -1).mean(1)
        rounding = 1e-12 * self.mean.square().mean() + torch.finfo(self.mean.dtype).tiny
        floor = 1e-6 * variance.mean() + rounding
        self.spread.copy_(variance.maximum(floor).sqrt().view_as(self.spread))

    def forward(self, releases: Tensor) -> Tensor:
        return (releases - self.mean) / self.spread


class Marked(Standardise):
    """The same, and beside it (as further channels; of tokens, further entries) which entries carry a value: 1 where
    `mask` keeps them and they are not exactly 0, as dropout leaves them, 0 elsewhere."""

    mask: Tensor

    def __init__(self, shape: Shape, mask: Tensor) -> None:
        super().__init__(shape)
        self.register_buffer("mask", mask.expand(shape).clone())
        self.side = 1 if len(shape) == 2 else 0  # FeatureMap reads (T, D) as T places with D channels
        self.shape = tuple(2 * n if i == self.side else n for i, n in enumerate(shape))

    def forward(self, releases: Tensor) -> Tensor:
        kept = (releases != 0).to(releases.dtype) * self.mask
        return torch.cat([super().forward(releases) * self.mask, kept], 1 + self.side)
