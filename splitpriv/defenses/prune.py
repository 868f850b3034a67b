"""PATROL's structured pruning: soft masks on the edge's channels and residual branches, then physical removal."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from splitpriv import host
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.places import require_some
from splitpriv.defenses.parts.resize import resize
from splitpriv.nets import pruning
from splitpriv.types import Count, Fraction, NonNegative, Phase, Shape, Spec, Step, UserError


class Prune(Defense):
    """Soft masks m_j, removal of structures with small |m_j|, fine-tuning (Ding et al. 2023, PATROL, §III-B1).

    A structure is an output channel of a convolution of the edge, masked behind its BatchNorm, or the residual branch
    of a block with an identity shortcut; with `structures` blocks, the latter alone. m_j starts at 1; `weight` (λ_m)
    shrinks it: `shrink` proximal soft-thresholds it by lr·λ_m after every step, penalty adds λ_m·Σ|m_j| to the loss.
    Then the smallest |m_j| go: by threshold, those below `amount` (τ); by quantile, that share of the structures; by
    compression, as many as take that share of the edge's parameters. The largest channel of every layer stays, so a run
    may end short of its share. `release`: channels of z may go, too. The m_j that stay are folded into the weights.

    Phases: the undefended target (if `pretrained`), the masks, and fine-tuning for a share `finetune` of `epochs` on a
    cosine. Channels that sums tie together stay. The paper's settings are not public: this is a re-implementation.
    """

    version = 2
    unsaid = 2
    added: ClassVar[Mapping[str, Any]] = {"structures": "all"}
    adaptive: ClassVar[frozenset[str]] = frozenset({"mask"})
    strength: ClassVar[Mapping[str, str]] = {"amount": "interval(0.05, 0.95)"}

    def __init__(self, *, weight: NonNegative, shrink: Literal["proximal", "penalty"],
                 by: Literal["compression", "quantile", "threshold"], amount: NonNegative,
                 structures: Literal["all", "blocks"], release: bool, pretrained: bool, finetune: Fraction,
                 epochs: Count) -> None:  # fmt: skip
        super().__init__()
        if by != "threshold" and amount >= 1:
            raise UserError(f".amount: {amount} is not a share below 1; lower it, or set by=threshold")
        self.weight, self.shrink, self.by, self.amount = weight, shrink, by, amount
        self.kinds, self.release = structures, release
        last = max(1, round(finetune * epochs))
        cosine = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": last}
        first = (Phase("fit", idle=True),) if pretrained else ()
        self.phases = (*first, Phase("prune"), Phase("finetune", last, optim={"schedule": cosine}))
        self._facts: dict[str, float] = {}

    def validate(self, chain: Mapping[str, Defense]) -> None:
        pruning.require_library("defense." + next(name for name, link in chain.items() if link is self))

    def undecayed(self) -> list[nn.Parameter]:
        return [] if self.mask is None else [self.mask]

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.structures = pruning.Structures(model.net, spec.image, self.release, self.kinds == "all")
        if self.kinds == "blocks" and not self.structures.total:
            raise UserError(".structures: blocks, but no block of the edge has a shortcut to pass it by; use a "
                            "residual network, as backbone=resnet20, or cut it deeper")  # fmt: skip
        if self.by == "quantile":
            total = self.structures.total
            gone = round(self.amount * total)
            require_some(gone, self.amount, total, f".amount: {self.amount:g} of the edge's structures")
        self.mask: nn.Parameter | None = nn.Parameter(torch.ones(self.structures.total))
        self.hooks = [model.net.edge.get_submodule(site).register_forward_hook(partial(self._soften, part=part))
                      for site, part in self.structures.sites.items()]  # fmt: skip

    def _soften(self, module: nn.Module, args: Any, out: Tensor, part: slice) -> Tensor:
        assert self.mask is not None
        return out * self.mask[part].view(-1, 1, 1).to(out.dtype)

    def penalty(self, z: Tensor, step: Step) -> Tensor | None:
        return None if self.mask is None or self.shrink == "proximal" else self.weight * self.mask.abs().sum()

    @torch.no_grad()
    def on_step_end(self, z: Tensor, step: Step) -> None:
        if self.mask is not None and self.shrink == "proximal":
            self.mask.copy_(self.mask.sign() * (self.mask.abs() - step.lr * self.weight).clamp_min(0))

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        if phase.name != "finetune" or self.mask is None:
            return
        net, image, mask = model.net, model.spec.image, self.mask.detach()
        shapes = {name: shape for name, _, shape in model.shapes()}
        sizes, before = host.to_host(mask.abs()), pruning.size(net, image)
        chosen = self._choose(model, sizes)
        for hook in self.hooks:
            hook.remove()
        for site, part in self.structures.sites.items():
            pruning.fold(net, site, mask[part])
        self.mask = None
        self.structures.remove(net, image, chosen)
        gone, dropped = self.structures.named(chosen)
        self._facts = pruning.savings(before, pruning.size(net, image))
        self._facts |= {"channels_removed": sum(map(len, gone.values())), "branches_removed": len(dropped)}
        self._facts["threshold"] = max((sizes[i] for i in chosen), default=0.0)
        for layer in self.structures.layers:
            if layer.released and layer.conv in gone:
                resize(model, self, shapes, sorted(set(range(layer.count)) - set(gone[layer.conv])), layer.count)

    def _choose(self, model: Defended, sizes: list[float]) -> list[int]:
        """The places of `mask` to remove, given all |m_j|."""
        order, left = self.structures.removable(sizes), partial(self.structures.predicted, model.net)
        if self.by == "threshold":
            return [i for i in order if sizes[i] < self.amount]
        if self.by == "quantile":
            return order[: round(self.amount * len(sizes))]
        full = left(())
        return order[: bisect_left(range(len(order)), self.amount * full, key=lambda n: full - left(order[:n]))]

    @property
    def facts(self) -> Mapping[str, float]:
        """Compression of the edge (`pruning.savings`), and what went."""
        return self._facts
