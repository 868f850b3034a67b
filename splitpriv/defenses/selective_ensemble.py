"""Ensembler: several bodies in the cloud, of which a secret choice answers, and an edge unlike those of their youth."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import Count, NonNegative, Phase, Shape, Spec, Step, UserError

LEARNING = "members"  # the phase in which heads and bodies learn


class Ensemble(nn.Module):
    """The cloud: N bodies, each with the head that it learned with, and a tail of the client's for each of P.

    While members learn it answers nothing, and afterwards the mean over P bodies, which learn no more.
    """

    def __init__(self, edge: nn.Module, cloud: nn.Sequential, members: int, selected: int, classes: int) -> None:
        super().__init__()
        self.classes, self.learning = classes, False
        stages = list(cloud.named_children())
        body, tail = (stages[:-1], stages[-1][1]) if len(stages) > 1 else (stages, nn.Identity())
        self.heads = nn.ModuleList(anew(edge) for _ in range(members))
        self.bodies = nn.ModuleList(anew(nn.Sequential(OrderedDict(body))) for _ in range(members))
        self.ends = nn.ModuleList(anew(tail) for _ in range(members))  # of the members, left behind with their heads
        self.tails = nn.ModuleList(copied(tail) for _ in range(selected))

    def train(self, mode: bool = True) -> Ensemble:
        super().train(mode)
        for part in (self.heads, self.bodies, self.ends):
            part.train(mode and self.learning)
        return self

    def forward(self, r: Tensor) -> Tensor:
        for part in (self.heads, self.bodies, self.ends):
            part.requires_grad_(self.learning)
        if self.learning:
            return r.new_zeros(len(r), self.classes)
        pairs = zip(self.bodies, self.tails, strict=False)  # the first P: members are alike by lot
        return torch.stack([tail(body(r)) for body, tail in pairs]).mean(0)


class SelectiveEnsemble(Defense):
    """Ensembler (Liu et al. 2024, arXiv 2401.10859), in its three stages, of which the second is a choice.

    members: N nets learn each with an edge of its own and a fixed Gaussian offset of standard deviation `sigma` on what
    that edge sends. The client chooses P of the N bodies, in secret. select: with these frozen, a new edge and new
    tails learn by the loss CE + `weight` · max over the P chosen of cos(edge(x), head_i(x)), so that the deployed edge
    differs from every edge that a server could learn through one of its bodies. The release has an offset of its own.

    The tails' answers are averaged: with a tail that pools and is linear this is the concatenation of features over P.
    Where the cloud is the head alone, members have that and no tail learns. Adversaries of ours may query the edge, or
    know it, to whom the secret choice means nothing; `substitute` is even given the chosen bodies' answer. The paper's
    attacker guesses the subset. Open: the paper's body was not at hand; whether its noise is drawn once (here) or for
    every image, and whether the cosine is of z as sent or before the offset (here), are ours to say.
    """

    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(0.01, 10.0))"}

    offsets: Tensor

    def __init__(
        self,
        *,
        members: Annotated[int, Interval(ge=1, le=100)],
        selected: Count,
        weight: NonNegative,
        sigma: NonNegative,
    ) -> None:
        super().__init__()
        if selected > members:
            raise UserError(f".selected: {selected} of {members} members cannot be chosen; set selected <= members")
        self.members, self.selected, self.weight, self.sigma = members, selected, weight, sigma
        self.phases = (Phase(LEARNING, train=("cloud",)), Phase("select"))
        self._server: tuple[Ensemble, Defended] | None = None  # in a tuple: they are not parts of this module

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        ensemble = Ensemble(model.net.edge, model.net.cloud, self.members, self.selected, spec.classes)
        model.net.cloud = nn.Sequential(OrderedDict(ensemble=ensemble))
        self._server = ensemble, model
        device = next(model.net.parameters()).device
        self.register_buffer("offsets", self.sigma * torch.randn(self.members + 1, *shape, device=device))

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        assert self._server is not None
        self._server[0].learning = phase.name == LEARNING

    def after_edge(self, z: Tensor) -> Tensor:
        return z + self.offsets[-1]

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        assert self._server is not None
        ensemble, model = self._server
        x = step.x
        for _, link in model.defenses():
            x = link.before_edge(x)  # what the edge of its own member sees
        if ensemble.learning:
            losses = []
            for head, body, end, offset in zip(ensemble.heads, ensemble.bodies, ensemble.ends, self.offsets,
                                               strict=False):  # fmt: skip
                with model.autocast():
                    logits = end(body(head(x) + offset)).float()
                losses.append(F.cross_entropy(logits, step.y))
            return torch.stack(losses).sum()
        with torch.no_grad(), model.autocast():
            theirs = [head(x).float() for head in ensemble.heads[: self.selected]]
        alike = [F.cosine_similarity(z.flatten(1), other.flatten(1)).mean() for other in theirs]
        return self.weight * torch.stack(alike).amax()


def copied(module: nn.Module) -> nn.Module:
    """A copy whose tensors are clones: those without a storage cannot be copied otherwise."""
    known: dict[int, object] = {id(b): b.clone() for b in module.buffers()}
    return copy.deepcopy(
        module, known | {id(p): nn.Parameter(p.detach().clone(), p.requires_grad) for p in module.parameters()}
    )


def anew(module: nn.Module) -> nn.Module:
    """A copy with weights drawn afresh, all of which learn."""
    made = copied(module).requires_grad_(True)
    for part in made.modules():
        if callable(reset := getattr(part, "reset_parameters", None)):
            reset()
    return made
