"""DISCO: a pruner learns, against an adversary, which channels of each image's feature stay at home."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from splitpriv.defenses.adversarial import CoDecoder
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.aside import aside
from splitpriv.defenses.parts.guesser import Guesser, cross_entropy
from splitpriv.defenses.parts.places import require_some
from splitpriv.types import Count, NonNegative, Positive, Rate, Shape, Spec, Step


class Disco(Defense):
    """z' = m ∘ z, with one mask value per channel and image (Singh et al., CVPR 2021, §3; no published equation of the
    mask: this is that of the authors' and of DRAG's code).

    A pruner gives each channel c of z a score s_c; of C channels the R = ⌊ratio·C⌋ with the lowest go: m_c =
    sigmoid((s_c − s_(R))/temperature), s_(R) the R-th lowest score of the image. Tokens and vectors have their last
    dimension for channels. Three players: an adversary descends its loss on z', by `against` that of rebuilding x (MSE)
    or of telling the private `attribute` (null: all); the pruner descends CE(y) − weight·(adversary's loss); edge and
    cloud learn from CE(y) alone. In the authors' code the weight is α/(1 − α), α = 0.5.

    `hard`: at deployment what is dropped is zero. The public codes keep the soft mask there, as `disco_official`
    does: a dropped channel then leaves as sigmoid(−Δ/temperature) times itself, which floats keep, so that dividing by
    the mask gives it back.

    Open: how R falls on ties, and whether the pruner meets gradients from the server. What of z a kept channel holds is
    not limited. The mask depends on the image: a search must match only what it sees was kept (`gap`).
    """

    version = 2
    adaptive = frozenset({"mask"})
    strength: ClassVar[Mapping[str, str]] = {"ratio": "interval(0.05, 0.95)"}

    def __init__(self, *, ratio: Rate, temperature: Positive, hard: bool, weight: NonNegative,
                 pruner: Callable[..., nn.Module], against: Literal["image", "attribute"],
                 decoder: Callable[..., nn.Module], attribute: str | None, classifier: Callable[..., nn.Module],
                 lr: Positive, steps: Count) -> None:  # fmt: skip
        super().__init__()
        self.ratio, self.temperature, self.hard, self.weight, self.make = ratio, temperature, hard, weight, pruner
        self.foe: CoDecoder | Guesser = Guesser(classifier, attribute, lr)
        if against == "image":
            self.foe = CoDecoder(decoder, "mse", "zero", lr)
        else:
            self.adaptive = self.adaptive | {"attribute"}  # type: ignore[misc]
        self.adversary_steps = steps

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.axis = 1 if len(shape) == 3 else len(shape)
        channels = shape[self.axis - 1]
        self.dropped = int(self.ratio * channels)
        require_some(self.dropped, self.ratio, channels, f".ratio: {self.ratio:g} of the channels")
        with aside():
            self.pruner = self.make(shape, channels)
        if isinstance(self.foe, CoDecoder):
            self.foe.attach(shape, spec.image)
        else:
            self.foe.attach(shape, spec)

    def mask(self, z: Tensor, hard: bool) -> Tensor:
        """m of z, to be multiplied with it; while it trains the edge gets no gradient through it."""
        scores = self.pruner(z.detach() if self.training else z)
        if not self.dropped:
            return torch.ones_like(scores).view(self._along(z))
        bar = scores.kthvalue(self.dropped, dim=1, keepdim=True).values
        if hard:
            return (scores > bar).to(z.dtype).view(self._along(z))
        return torch.sigmoid((scores - bar) / self.temperature).view(self._along(z))

    def _along(self, z: Tensor) -> list[int]:
        return [n if i in (0, self.axis) else 1 for i, n in enumerate(z.shape)]

    def after_edge(self, z: Tensor) -> Tensor:
        return self.mask(z, self.hard and not self.training) * z

    def gap(self, z: Tensor, release: Tensor) -> Tensor:
        """Channels that arrived tell z, whatever the guess would drop; those that did not tell nothing."""
        if not self.hard:
            return self.expected(z) - release
        within = [i for i in range(1, z.dim()) if i != self.axis]
        there = (release != 0).any(within, keepdim=True) if within else release != 0
        return torch.where(there, z - release, 0.0)

    def adversary_parameters(self) -> list[nn.Parameter]:
        return list(self.foe.parameters())

    def adversary_optimizer(self) -> torch.optim.Optimizer:
        return self.foe.optimizer()

    def adversary_loss(self, z: Tensor, step: Step) -> Tensor:
        with torch.no_grad():
            sent = self.mask(z, hard=False) * z
        return self.foe.loss(sent, step.x) if isinstance(self.foe, CoDecoder) else self.foe.loss(sent, step)

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        """−weight·(the adversary's loss), whose gradient ends in the pruner."""
        z = z.detach()
        sent = self.mask(z, hard=False) * z
        if isinstance(self.foe, CoDecoder):
            loss = (self.foe.frozen(sent) - step.x).square().mean()
        else:
            loss = cross_entropy(self.foe.frozen(sent), step.attributes)
        return -self.weight * loss
