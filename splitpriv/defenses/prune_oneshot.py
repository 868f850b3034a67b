"""What CEM's code calls PATROL, but for its adversary: one pruning of the edge by first-order Taylor scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from splitpriv import host
from splitpriv.defenses.base import Defended, Defense
from splitpriv.nets import pruning
from splitpriv.nets.modes import evaluating
from splitpriv.types import Count, Fraction, Phase, Rate, Step, Whole


class PruneOneshot(Defense):
    """Structured pruning once, at a share `at` of `epochs`, as CEM's code has it (Xia et al., CVPR 2025).

    Every group of tied channels of the edge loses its share `ratio` with the smallest first-order Taylor scores
    (torch-pruning's GroupTaylorImportance) of a dummy loss: the sum of z on one random image. Convolutions of at most
    `spared` output channels are left alone, and so is z. The second stretch goes on with the schedule of `optim`;
    `stale`: what was cut no longer learns, since the code keeps the optimiser of the tensors before. No soft mask, no
    Lipschitz term: not the PATROL of its authors; no paper has an equation of it.
    """

    adaptive: ClassVar[frozenset[str]] = frozenset({"mask"})
    strength: ClassVar[Mapping[str, str]] = {"ratio": "interval(0.02, 0.95)"}

    def __init__(self, *, ratio: Rate, spared: Whole, at: Fraction, stale: bool, epochs: Count,
                 optim: Mapping[str, Any]) -> None:  # fmt: skip
        super().__init__()
        self.ratio, self.spared, self.stale = ratio, spared, stale
        first = max(1, int(at * epochs))
        rest = {"_target_": "splitpriv.defenses.prune_oneshot.rest_of", "after": first, "schedule": optim["schedule"]}
        self.phases = (Phase("dense", first), Phase("pruned", max(1, epochs - first), optim={"schedule": rest}))
        self.frozen: list[tuple[nn.Parameter, Tensor]] = []
        self._facts: dict[str, float] = {}

    def validate(self, chain: Mapping[str, Defense]) -> None:
        pruning.require_library("defense." + next(name for name, link in chain.items() if link is self))

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        if phase.name != "pruned" or self._facts:
            return
        net, image = model.net, model.spec.image
        before, old = pruning.size(net, image), dict(net.edge.named_parameters())
        gone = self._smallest(model)
        pruning.remove(net, image, gone)
        if self.stale:
            self.frozen = [(p, p.detach().clone()) for name, p in net.edge.named_parameters() if p is not old[name]]
        self._facts = pruning.savings(before, pruning.size(net, image))

    def _smallest(self, model: Defended) -> dict[str, list[int]]:
        """The channels to remove, by the name of one of the convolutions that they are tied to."""
        import torch_pruning as tp

        net, spec = model.net, model.spec
        edge, names = net.edge, {module: name for name, module in net.edge.named_modules()}
        graph = pruning.trace(net, spec.image)
        cloud = set(net.cloud.modules())
        small = [m for m in names if isinstance(m, nn.Conv2d) and m.out_channels <= self.spared]
        groups = [g for g in graph.get_all_groups([*cloud, *small]) if all(d.target.module not in cloud for d, _ in g)]
        if not groups:
            return {}
        device = next(net.parameters()).device
        mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (spec.mean, spec.std))
        edge.zero_grad()
        with evaluating(edge), torch.enable_grad():
            x = mean + std * torch.randn(1, *spec.image, device=device)  # normal, once the edge has normalised it
            edge(x).sum().backward()
        gone: dict[str, list[int]] = {}
        for group in groups:
            scores = host.to_host(tp.importance.GroupTaylorImportance()(group))
            cut = len(scores) - int(len(scores) * (1 - self.ratio))
            order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
            gone[names[group[0].dep.target.module]] = sorted(order[: min(cut, len(scores) - 1)])
        edge.zero_grad()
        return {name: index for name, index in gone.items() if index}

    @torch.no_grad()
    def on_step_end(self, z: Tensor, step: Step) -> None:
        for parameter, value in self.frozen:
            parameter.copy_(value)

    @property
    def facts(self) -> Mapping[str, float]:
        """Compression of the edge (`pruning.savings`)."""
        return self._facts


def rest_of(
    optimizer: torch.optim.Optimizer, *, after: Whole,
    schedule: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None,
) -> torch.optim.lr_scheduler.LRScheduler | None:  # fmt: skip
    """`schedule` as it stands `after` so many epochs, for a stretch of training that goes on with it."""
    if schedule is None:
        return None
    made = schedule(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no step was taken yet
        for _ in range(after):
            made.step()
    return made
