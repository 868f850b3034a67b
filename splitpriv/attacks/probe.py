"""Attribute inference: a classifier that reads a private attribute off the release."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.attacks.base import Access, Attack, Recovered, Right
from splitpriv.attacks.training import (
    Learned,
    Select,
    Standardise,
    Stop,
    Training,
    average,
    cosine,
    learn,
    losses,
    shares,
)
from splitpriv.nets import probes
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, Rate, Shape, UserError, Whole

Kind = Literal["mlp", "cnn"]


class Probe(Attack):
    """Attribute inference from releases: logistic regression, an MLP, or a CNN on the release as a map.

    Release (N, *shape) -> logits (N, values of `attribute`; "y" is the task's label). `kind` mlp has `hidden` ReLU
    layers (none: logistic regression), cnn convolutions of `width` channels before them. With `balanced` every value
    weighs the same in the loss, however rare. Stopped and selected by that loss on the share `held` of aux.

    Cloak's adversaries (Mireshghallah et al. 2021) learn from clean images first, `pretrain` epochs of them, and are
    then judged as they are (`epochs` 0) or retrained on releases; that needs a release of the image's shape. `rates`
    are the learning rates of the epochs on releases, the last one for all that follow; none: a cosine from `lr`.
    Raises UserError for such a probe at another cut, for an attribute that the data do not have, for no epochs at all,
    where selection has nothing to look at, and when the loss stops being a number.
    """

    rounds = 3
    requires: frozenset[Right] = frozenset({"query", "aux"})
    recovers: ClassVar[Recovered] = "attribute"

    def __init__(self, *, attribute: str, kind: Kind, hidden: list[Count], width: Count,
                 balanced: bool, pretrain: Whole, epochs: Whole, batch: Count, lr: Positive, min_lr: NonNegative,
                 rates: list[Positive], weight_decay: NonNegative, held: Rate, patience: Count | None, select: Select,
                 tolerance: Fraction, standardise: bool, draws: Count) -> None:  # fmt: skip
        if pretrain + epochs == 0:
            raise UserError(".epochs: 0, and pretrain too, leaves nothing to learn from; raise one of them")
        self.attribute, self.kind, self.hidden, self.width, self.balanced = attribute, kind, hidden, width, balanced
        self.pretrain, self.epochs, self.batch, self.weight_decay = pretrain, epochs, batch, weight_decay
        self.lr, self.min_lr, self.rates, self.standardise, self.draws = lr, min_lr, rates, standardise, draws
        self.stop = Stop(held, patience, select, tolerance)

    @property
    def adapts(self) -> frozenset[str]:
        return super().adapts | ({"attribute"} if self.attribute != "y" and self.epochs else set())

    def harder(self, turn: int) -> list[Probe]:
        """Both kinds of net for 2^turn times as many epochs; none where no loss is held out that could choose."""
        stronger = [copy(self) for _ in get_args(Kind)] if self.stop.held else []
        for attack, kind in zip(stronger, get_args(Kind), strict=False):
            attack.kind, attack.epochs, attack.pretrain = kind, self.epochs * 2**turn, self.pretrain * 2**turn
        return stronger

    def fit(self, access: Access, home: Path) -> Learned:
        if self.pretrain and access.shape != access.spec.image:
            raise UserError(
                f".pretrain: a release is {access.shape}, an image {access.spec.image}; use split.at=0, or pretrain=0"
            )
        study, aux = Study(self, access, home), access.aux
        report: dict[str, Any] = {}
        if self.pretrain:
            report = study.train("clean", aux.split.x, self.pretrain, [])
        if self.epochs:
            before = {f"clean_{name}": value for name, value in report.items()}
            release = partial(aux.release, draws=self.draws)
            report = before | study.train("release", release, self.epochs, self.rates)
        state.save_tensors(home / "probe.safetensors", study.best.state_dict())
        return Learned(study.best, report)

    def net(self, shape: Shape, values: int) -> nn.Sequential:
        """A fresh classifier of releases of `shape`."""
        if self.kind == "mlp":
            net = probes.mlp(shape, values, hidden=self.hidden)
        else:
            net = probes.cnn(shape, values, width=self.width, hidden=self.hidden)
        return nn.Sequential(Standardise(shape), net)


class Study:
    """One classifier learning from one source after the other, each time from the best it was."""

    def __init__(self, attack: Probe, access: Access, home: Path) -> None:
        self.attack, self.access, self.home, self.measured = attack, access, home, not attack.standardise
        known = {"y": access.spec.classes, **access.spec.attributes}
        if attack.attribute not in known:
            names = ", ".join(known)
            raise UserError(f".attribute: the data set has no {attack.attribute!r}; choose one of {names}")
        values, labelled = known[attack.attribute], access.aux.split
        self.target = labelled.y if attack.attribute == "y" else labelled.attributes[attack.attribute]
        self.apart, self.rest = shares(access, home.name, attack.stop.held)
        with access.device:
            self.net, self.best = (attack.net(access.shape, values) for _ in range(2))
        counts = (self.target[self.rest, None] == torch.arange(values, device=access.device)).sum(0).float()
        even = counts.sum() / (values * counts.clamp_min(1))
        self.weight = even if attack.balanced else torch.ones_like(even)

    def train(self, name: str, source: Callable[[Tensor], Tensor], epochs: int, rates: list[float]) -> dict[str, Any]:
        """Learn from what `source` gives for indices of aux; returns the report."""
        attack, net = self.attack, self.net
        scale = net[0]
        if not self.measured and isinstance(scale, Standardise):
            scale.measure(source(part) for part in torch.cat([self.apart, self.rest]).split(attack.batch))
            self.measured = True
        optimizer = torch.optim.Adam(net.parameters(), attack.lr, weight_decay=attack.weight_decay, fused=True)

        def loss(part: Tensor) -> Tensor:
            with self.access.autocast():
                logits = net(source(part))
            target = self.target[part]
            return (self.weight[target] * F.cross_entropy(logits.float(), target, reduction="none")).mean()

        def epoch(index: int) -> dict[str, Tensor]:
            first, last = (rates[min(index, len(rates) - 1)],) * 2 if rates else (attack.lr, attack.min_lr)
            cosine(optimizer, first, last, index / epochs)
            train = learn(net, optimizer, self.rest, attack.batch, loss)
            return losses(train, self.apart, lambda apart: average(net, apart, attack.batch, loss))

        training = Training("probe", self.home / f"{name}.pt", f"{self.home.name} {name}", epochs, attack.stop)
        curve = training.run(net, self.best, {"optimizer": optimizer}, epoch)
        net.load_state_dict(self.best.state_dict())
        return {**curve, "epochs": len(curve["train"]), "converged": training.settled(curve)}
