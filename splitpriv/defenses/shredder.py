"""Shredder: noise tensors learned against a frozen network, of which a release takes one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.cloak_phases import Stretch, schedule
from splitpriv.stats.dp import laplace_like
from splitpriv.types import Epoch, NonNegative, Phase, Positive, Shape, Spec, Step

RATE = 0.02  # of the running power of z, once it has seen 1 / RATE batches


class Shredder(Defense):
    """z + n, n one of `tensors` learned noise tensors, drawn anew for every image (Mireshghallah et al. 2020).

    The network is trained first and then frozen; the tensors start as Laplace(0, `start`·RMS(z)) and learn alone:
    CE(f_c(z + n), y) − weight·mean|n|/RMS(z), the second term only while the noise-to-signal ratio Var(n)/E[z²] of the
    tensor is below `ratio`, as the paper lets λ decay once its target of 1/SNR is met. At deployment a release takes a
    fresh sample of the Laplace law that was fitted to a tensor (median, mean distance from it), its values put in the
    order of the tensor's ("sample and reorder"); with `resample` false, the tensor itself.

    `expected` adds the mean of all that may be drawn, exactly known to who has the tensors: as the order is kept, a
    sample hardly differs from its tensor, so that the noise is a choice among `tensors` and whoever tries all (`gap`),
    or averages releases, sees through it.

    Open: the paper's loss and the decay of λ are known to us from its abstract and from code alone; the public code
    stops a tensor at an accuracy and has no |n| term. One of its ports (SIMBA) clears the term's gradient, so that it
    has no effect. How many tensors suffice is not said; 20 here.

    Source: Mireshghallah et al., Shredder: Learning Noise Distributions to Protect Inference Privacy, ASPLOS 2020
    (arXiv 1905.11814), and the first version of their code; numbers of equations not at hand.
    """

    power: Tensor
    seen: Tensor
    ranks: Tensor
    mean: Tensor
    centre: Tensor
    spread: Tensor
    version = 2
    adaptive = frozenset({"draws"})
    strength: ClassVar[Mapping[str, str]] = {"ratio": "tag(log, interval(0.01, 100.0))"}

    def __init__(self, *, tensors: Annotated[int, Interval(ge=1, le=1024)], ratio: Positive, weight: NonNegative,
                 start: Positive, resample: bool, epochs: NonNegative, lr: Positive) -> None:  # fmt: skip
        super().__init__()
        self.tensors, self.ratio, self.weight, self.start, self.resample = tensors, ratio, weight, start, resample
        stretch: Stretch = {"epochs": epochs, "lr": lr, "gamma": weight, "lambda": None}
        self.stretches = {"noise": stretch}
        self.phases, self.on = schedule(True, self.stretches), True

    def validate(self, chain: Mapping[str, Defense]) -> None:
        self.phases = schedule(len(chain) == 1, self.stretches)

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.bank = nn.Parameter(self.start * laplace_like(torch.zeros(self.tensors, *shape)))  # in RMS of z
        self.register_buffer("power", torch.ones(()))  # E[z²]
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("ranks", torch.zeros(self.tensors, math.prod(shape), dtype=torch.int32))
        self.register_buffer("mean", torch.zeros(shape))
        for name in ("centre", "spread"):
            self.register_buffer(name, torch.zeros(self.tensors, 1))
        self.fix()

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        self.on = phase.name == "noise"

    @torch.no_grad()
    def fix(self) -> None:
        """Note the order of every tensor's values, the Laplace law that fits them best, by their median and their mean
        distance from it, and the mean of all that may be drawn; all in units of z's RMS."""
        flat = self.bank.flatten(1)
        self.ranks.copy_(flat.argsort(1).argsort(1))
        self.centre.copy_(flat.sort(1).values[:, (flat.shape[1] - 1) // 2, None])
        self.spread.copy_((flat - self.centre).abs().mean(1, keepdim=True))
        self.mean.copy_(self.means().mean(0).view_as(self.mean))

    def means(self) -> Tensor:
        """Of what is drawn by each tensor the mean, (tensors, entries) in units of z's RMS."""
        if not self.resample:
            return self.bank.flatten(1)
        return (
            self.centre + self.spread * ordered_laplace_mean(self.ranks.shape[1], self.ranks.device)[self.ranks.long()]
        )

    def after_edge(self, z: Tensor) -> Tensor:
        if not self.on:
            return z
        pick = (self.tensors * torch.rand(len(z), device=z.device)).long()  # randint is in no format for phones
        if self.training or not self.resample:
            noise = self.bank[pick]
        else:
            fresh = laplace_like(z.flatten(1))
            fresh = fresh.topk(fresh.shape[1], largest=False).values  # sorted, in an operation that phones have
            fresh = fresh.gather(1, self.ranks[pick].long())
            noise = (self.centre[pick] + self.spread[pick] * fresh).view_as(z)
        return z + self.power.sqrt() * noise

    def expected(self, z: Tensor) -> Tensor:
        return z + self.power.sqrt() * self.mean if self.on else z

    def gap(self, z: Tensor, release: Tensor) -> Tensor:
        """As if the noise were that of the tensors, or their mean, which explains the release best."""
        if not self.on:
            return z - release
        tried = self.power.sqrt() * torch.cat([self.means(), self.mean.flatten()[None]]).detach()
        off = (z - release).flatten(1)
        best = torch.cdist(-off.detach(), tried).argmin(1)
        return (off + tried[best]).view_as(z)

    def penalty(self, z: Tensor, step: Step) -> Tensor | None:
        if step.phase != "noise" or not self.weight:
            return None
        flat = self.bank.flatten(1)
        below = (flat.detach().var(1) < self.ratio).to(flat.dtype)
        return -self.weight * (flat.abs().mean(1) * below).mean()

    @torch.no_grad()
    def on_step_end(self, z: Tensor, step: Step) -> None:
        if self.on:
            self.seen += 1
            self.power.lerp_(z.square().mean(), (1 / self.seen).clamp(min=RATE))

    def on_epoch_end(self, epoch: Epoch) -> None:
        if self.on:
            self.fix()

    @property
    def facts(self) -> Mapping[str, float]:
        """`noise_to_signal`: Var(n) / E[z²], the mean of the tensors."""
        return {"noise_to_signal": float(self.bank.detach().flatten(1).var(1).mean())}


def ordered_laplace_mean(n: int, device: torch.device) -> Tensor:
    """What the values of a sorted sample of n from Laplace(0, 1) are on average, (n,).

    E log U₍ᵢ₎ = ψ(i) − ψ(n + 1) for the i-th of n uniform numbers; exact but for the chance that a value of the lower
    half of the sample lies above the median, which matters to values near 0 alone.
    """
    i = torch.arange(1, n + 1, dtype=torch.double, device=device)
    low = (math.log(2) + torch.digamma(i) - torch.digamma(torch.full_like(i, n + 1))).clamp(max=0)
    low = torch.where(2 * i < n + 1, low, 0.0)  # the middle one of an odd number is 0 by symmetry
    return (low - low.flip(0)).float()
