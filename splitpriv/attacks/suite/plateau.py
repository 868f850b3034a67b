"""Training to a plateau: the length doubles until the held-out gain of a doubling is small, then the rate falls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from splitpriv import host, progress
from splitpriv.attacks.suite.muon import Muon
from splitpriv.store import state
from splitpriv.types import UserError

ROUND = 32  # steps between two saved states
RATE = 0.05  # of Muon
WARM = 64  # steps in which the rate rises
FALL = 0.5  # length of the rate's fall, as a share of what came before
GAIN = 0.02  # a doubling that gains less has reached the plateau
NEGLIGIBLE = 1e-3  # so has one that gains less than this share of the mean image's MSE
MEMORY = 0.99  # of the average of weights, per step


@dataclass(frozen=True)
class Length:
    """Steps: the plateau is first looked for after twice `first`; with the rate's fall there are at most `most`."""

    first: int
    most: int


def channels_last(net: nn.Module) -> nn.Module:
    """The same net in the layout in which convolutions are faster, on processors by a sixth."""
    for p in net.parameters():  # `to` exchanges whole parameters, which tensors without data cannot
        if p.dim() == 4:
            p.data = p.data.clone(memory_format=torch.channels_last)
    return net


class Trainee:
    """One net on its way: `advance` at the full rate, then `finish`. State lies in `path`, steps are seeded by `key`.

    The net that counts is the running average of the weights. Raises UserError when a loss stops being a number.
    """

    def __init__(self, label: str, path: Path, key: str, make: Callable[[], nn.Module],
                 loss: Callable[[nn.Module], Tensor], held: Callable[[nn.Module], Tensor],
                 floor: float) -> None:  # fmt: skip
        self.label, self.path, self.key = label, path, key
        self.loss, self.held, self.floor = loss, held, floor
        state.seed_epoch(key, 0)
        self.net, self.average = (channels_last(make()) for _ in range(2))
        self.average.requires_grad_(False).eval()
        self.average.load_state_dict(self.net.state_dict())
        self.muon = Muon(self.net, RATE)
        self.parts = {"net": self.net, "average": self.average, "muon": self.muon}
        self.done, notes = state.load_state(path, self.parts)
        fresh: dict[str, Any] = {"train": [], "held": [], "turn": None, "end": None, "settled": False, "gain": 1.0}
        self.notes = fresh | (notes or {})
        self.make, self.early = make, path.with_name(f"{path.stem} before.pt")

    @property
    def best(self) -> float:
        """Held-out MSE of the average so far."""
        return self.notes["held"][-1] if self.notes["held"] else math.inf

    def after(self, steps: int) -> float:
        """Held-out MSE as it was after `steps` steps, or is where fewer are done."""
        return self.notes["held"][: max(1, -(-steps // ROUND))][-1] if self.notes["held"] else math.inf

    @property
    def report(self) -> dict[str, Any]:
        """What the row says of the training."""
        return {"steps": self.done, **{key: self.notes[key] for key in ("held", "settled", "gain")}}

    def advance(self, until: int) -> None:
        """Train at the full rate until `until` steps are done, or as far as it went before the rate fell."""
        self._train(until if self.notes["turn"] is None else self.done)

    def finish(self, length: Length) -> nn.Module:
        """Double until the plateau, let the rate fall, and return the average."""
        reach = max(ROUND, int(length.most / (1 + FALL)))
        while self.notes["turn"] is None:
            self.advance(min(reach, max(2 * length.first, 2 * self._doubled(length))))
            settled = self._flat()
            if settled or self.done >= reach:
                turn = self.done
                state.save_state(self.early, turn, {"average": self.average}, None)
                end = turn + max(ROUND, int(FALL * turn))
                self.notes |= {"turn": turn, "end": end, "settled": settled, "gain": self._gain()}
        self._train(self.notes["end"])
        if not self.best < (1 - GAIN) * self.floor:  # nothing learned
            self.notes |= {"settled": False, "gain": 1.0}
        return self.average

    def before(self) -> nn.Module:
        """The average as it was when the rate began to fall: the same net with less training."""
        net = channels_last(self.make()).requires_grad_(False).eval()
        net.load_state_dict(self.average.state_dict())
        state.load_state(self.early, {"average": net})
        return net

    def _doubled(self, length: Length) -> int:
        """The longest of first, 2 first, 4 first, ... that is done."""
        steps = length.first
        while 2 * steps <= self.done:
            steps *= 2
        return steps if self.done >= length.first else 0

    def _flat(self) -> bool:
        """Whether the second half of what is done gained next to nothing."""
        return self.done > ROUND and self._gain() <= GAIN

    def _gain(self) -> float:
        """The share of the error that the second half of what is done took away; 0 if that is negligible."""
        before = self.notes["held"][max(0, self.done // ROUND // 2 - 1)]
        saved = before - self.best
        return saved / before if saved > NEGLIGIBLE * self.floor else 0.0

    def _train(self, until: int) -> None:
        with progress.bar(self.label, max(until, self.done), unit="step", initial=self.done) as bar:
            while self.done < until:
                state.seed_epoch(self.key, self.done // ROUND + 1)
                self.net.train()
                losses = []
                for step in range(self.done, self.done + ROUND):
                    self._set_rate(step)
                    losses.append(self._step(step))
                    bar.update()
                self.done += ROUND
                with torch.no_grad():
                    means = host.to_host(torch.stack([torch.stack(losses).mean(), self.held(self.average)]))
                if not all(map(math.isfinite, means)):
                    raise UserError(f"{self.label}: the loss became {means[0]} after {self.done} steps")
                for name, value in zip(("train", "held"), means, strict=True):
                    self.notes[name].append(value)
                state.save_state(self.path, self.done, self.parts, self.notes)
                bar.set_postfix({"held": f"{means[1]:.5f}"}, refresh=False)

    def _set_rate(self, step: int) -> None:
        share = min(1.0, (step + 1) / WARM)
        turn, end = self.notes["turn"], self.notes["end"]
        if turn is not None:
            share = max(0.0, (end - step) / (end - turn))
        self.muon.set_share(share)

    def _step(self, step: int) -> Tensor:
        loss = self.loss(self.net)
        self.muon.zero_grad(set_to_none=True)
        loss.backward()
        self.muon.step()
        memory = min(MEMORY, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - memory)
                else:
                    mean.copy_(now)
        return loss.detach()
