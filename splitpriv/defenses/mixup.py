"""Mixing: what leaves is one image's feature with a share of another's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.answers import Answers
from splitpriv.types import Count, Phase, Shape, Spec, Step


class Mixup(Defense):
    """z' = (1 − w)·z_i + w·z_j, trained on (1 − w)·CE(y_i) + w·CE(y_j) (Zhang et al., ICLR 2018, arXiv 1710.09412, its
    x̃ and ỹ, at the cut as in Verma et al. 2019); at deployment too, as instance mixing hides images (Huang et al.,
    ICML 2020, arXiv 2010.02772; numbers of equations not at hand). w is `share`, below one half, so that the answer is
    about image i.

    In training j is another image of the batch; at deployment one of `bank` features of the last training images,
    drawn afresh for every release, so that what an image releases depends on no other that is sent.

    Open: mixup draws λ from a Beta law and InstaHide mixes several images of a public set and flips signs; here w is
    fixed and signs stay. Whoever holds the edge knows the bank: what was mixed in is a choice among its rows, so that
    whoever tries all (`gap`), or averages releases, sees through it.
    """

    adaptive = frozenset({"draws"})
    bank: Tensor
    version = 3  # the bank is known to the attacker
    strength: ClassVar[Mapping[str, str]] = {"share": "interval(0.02, 0.49)"}

    def __init__(self, *, share: Annotated[float, Interval(ge=0, lt=0.5)], bank: Count) -> None:
        super().__init__()
        self.share, self.rows = share, bank

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.answers = Answers(model)
        self.register_buffer("bank", torch.zeros(self.rows, *shape))

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        self.answers.listen()

    def after_edge(self, z: Tensor) -> Tensor:
        if self.training:
            return (1 - self.share) * z + self.share * z.roll(1, 0)  # batches come in random order
        other = self.bank[torch.randint(self.rows, (len(z),), device=z.device)]
        return (1 - self.share) * z + self.share * other

    def expected(self, z: Tensor) -> Tensor:
        return (1 - self.share) * z + self.share * self.bank.mean(0)

    def gap(self, z: Tensor, release: Tensor) -> Tensor:
        """As if what was mixed in were that row of the bank, or their mean, which explains the release best."""
        tried = self.share * torch.cat([self.bank, self.bank.mean(0, keepdim=True)]).flatten(1)
        off = ((1 - self.share) * z - release).flatten(1)
        best = torch.cdist(-off.detach(), tried).argmin(1)
        return (off + tried[best]).view_as(z)

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        """w·(CE(y_j) − CE(y_i)), which with the task's CE(y_i) makes the mixed loss."""
        logits = self.answers.take(z)
        return self.share * (F.cross_entropy(logits, step.y.roll(1, 0)) - F.cross_entropy(logits, step.y))

    def on_step_end(self, z: Tensor, step: Step) -> None:
        self.bank.copy_(torch.cat([z, self.bank])[: self.rows])
