"""Query-free inversion: a stand-in for an edge that the adversary cannot even query, and an attack on the stand-in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv import host
from splitpriv.attacks.base import Access, Attack, Aux, Reconstructor, Recovered, Right
from splitpriv.attacks.training import (
    Select,
    Stop,
    Training,
    average,
    cosine,
    inner_home,
    label_entropy,
    learn,
    losses,
    shares,
)
from splitpriv.nets import standins
from splitpriv.nets.split import Backbone
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, Rate, UserError, blame

HELD: frozenset[str] = frozenset({"query", "edge", "expected", "clean", "aux"})  # what a stand-in can give


class Substitute(Attack):
    """Query-free attack (He et al. 2019, ACSAC): the adversary holds the cloud's half and labelled aux, and no edge.

    A stand-in edge learns by cross-entropy so that the cloud, which is frozen, classifies its output; then `base`, an
    attack on images or on an attribute (`caption` says in labels what CapRecover, 2025, says in words), inverts the
    stand-in as if it were the edge and is given the true releases. The stand-in is cut from `backbone` at `at` with
    `bottleneck`, or, where that is null, plain convolutions of `width` channels. It ends in `activation`. Raises
    UserError for a base that needs more than a stand-in can give, for a cut that does not give the release's shape,
    where selection has nothing to look at, and when the loss stops being a number.
    """

    requires: frozenset[Right] = frozenset({"cloud", "aux"})
    attribute_key: ClassVar[str] = "base.attribute"

    def __init__(self, *, base: Callable[[], Attack], backbone: Callable[..., Backbone] | None, at: int | str | None,
                 bottleneck: dict[str, Any] | None, width: Count, activation: Literal["none", "relu"], epochs: Count,
                 batch: Count, lr: Positive, min_lr: NonNegative, weight_decay: NonNegative, held: Rate,
                 patience: Count | None, select: Select, tolerance: Fraction) -> None:  # fmt: skip
        with blame(".base"):
            self.base = base()
        require_servable(self.base)
        standins.require_both(backbone, at)
        self.backbone, self.at, self.bottleneck, self.width = backbone, at, bottleneck, width
        self.activation, self.epochs, self.batch, self.lr, self.min_lr = activation, epochs, batch, lr, min_lr
        self.weight_decay, self.draws = weight_decay, self.base.draws
        self.stop = Stop(held, patience, select, tolerance)
        self.attribute = self.base.attribute

    @property
    def recovers(self) -> Recovered:  # type: ignore[override]
        return self.base.recovers

    @property
    def adapts(self) -> frozenset[str]:
        return super().adapts | (self.base.adapts & {"attribute"})

    def fit(self, access: Access, home: Path) -> Through:
        edge, report = self._shadow(access, home)
        with blame(".base"):
            return Through(self.base.fit(through(edge, self.base, access), inner_home(home, "base")), report)

    def _shadow(self, access: Access, home: Path) -> tuple[nn.Module, dict[str, Any]]:
        """The trained stand-in, frozen, and what the row says about it."""
        apart, rest = shares(access, home.name, self.stop.held)
        with access.device:
            edge, best = self._edge(access), self._edge(access)
        optimizer = torch.optim.Adam(edge.parameters(), self.lr, weight_decay=self.weight_decay, fused=True)

        def logits(part: Tensor) -> Tensor:
            with access.autocast():
                z = edge(access.aux.split.x(part))
            return access.cloud(z.float())

        def loss(part: Tensor) -> Tensor:
            return F.cross_entropy(logits(part), access.aux.split.y[part])

        def right(part: Tensor) -> Tensor:
            return (logits(part).argmax(1) == access.aux.split.y[part]).float().mean()

        def epoch(index: int) -> dict[str, Tensor]:
            cosine(optimizer, self.lr, self.min_lr, index / self.epochs)
            train = learn(edge, optimizer, rest, self.batch, loss)
            return losses(train, apart, lambda held: average(edge, held, self.batch, loss))

        path, key = home / "shadow.pt", f"{home.name} shadow"
        training = Training("stand-in", path, key, self.epochs, self.stop)
        curve = training.run(edge, best, {"optimizer": optimizer}, epoch)
        edge.load_state_dict(best.state_dict())
        accuracy = host.to_host(average(edge, apart if len(apart) else rest, self.batch, right)[None])[0]
        state.save_tensors(home / "standin.safetensors", best.state_dict())
        blind = label_entropy(access.aux.split.y[apart if len(apart) else rest], access.spec.classes)
        report = {f"shadow_{name}": values for name, values in curve.items()}
        return edge.requires_grad_(False), {
            **report,
            "shadow_accuracy": accuracy,
            "converged": training.settled(curve, blind),
        }

    def _edge(self, access: Access) -> nn.Module:
        edge = standins.either(access.spec, access.shape, self.width, self.backbone, self.at, self.bottleneck)
        return nn.Sequential(edge, nn.ReLU() if self.activation == "relu" else nn.Identity())


def require_servable(base: Attack) -> None:
    """Raise UserError for an attack that needs more than a stand-in can give."""
    if base.recovers == "identity" or base.observe != "release" or not base.requires <= HELD:
        raise UserError(".base: a stand-in has no mask, no answers and no identities; use decoder or rmle with "
                        "mask=false, or probe")  # fmt: skip


def through(edge: nn.Module, base: Attack, access: Access) -> Access:
    """What `base` holds of a stand-in `edge`, trained and frozen, in the place of the device."""

    def release(x: Tensor) -> Tensor:
        with access.autocast():
            return edge(x).float()

    rights: dict[Right, Any] = {
        "query": torch.no_grad()(release),
        "edge": release,
        "expected": release,
        "clean": release,
        "aux": Aux(access.aux.split, release, lambda z: z, cacheable=True),
    }
    return Access(base.requires, spec=access.spec, shape=access.shape, device=access.device,
                  intercept=access.intercept, autocast=access.autocast, rights=rights)  # fmt: skip


class Through(Reconstructor):
    """The attack on the stand-in, applied to true releases."""

    def __init__(self, inner: Reconstructor, shadow: dict[str, Any]) -> None:
        super().__init__()
        self.inner, self.shadow = inner, shadow

    @property
    def report(self) -> dict[str, Any]:  # type: ignore[override]
        """The attack's report and the stand-in's; converged if both did."""
        inner = self.inner.report
        return {**inner, **self.shadow, "converged": bool(inner.get("converged", True) and self.shadow["converged"])}

    def forward(self, releases: Tensor) -> Tensor:
        return self.inner(releases)
