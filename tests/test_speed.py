"""No step reads anything back from the device: under FakeTensorMode a value does not exist, so a read raises."""

from __future__ import annotations

import pytest
import torch
from small import DECODER, MONITOR, SMALL
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from splitpriv import config, host
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended, Defense
from splitpriv.run.fit import Job, SplitFit
from splitpriv.run.parts import Parts, assemble, make_model, make_monitor
from splitpriv.types import Step


def prepared(*overrides: str) -> tuple[config.Config, Parts]:
    cfg = config.compose([*SMALL, *DECODER, *MONITOR, *overrides])
    return cfg, assemble(cfg)


def run_steps(cfg: config.Config, parts: Parts, extra: dict[str, Defense] | None = None, phases: int = 9) -> list[str]:
    """Two steps of every phase on fake tensors; the names of the terms that were summed."""
    terms: list[str] = []
    with FakeTensorMode():
        for phase in parts.phases[:phases]:
            model = make_model(cfg, parts.dataset, chain=not phase.idle)
            if extra:
                chain = {**dict(model.defenses()), **extra}
                model = Defended(model.net, chain, parts.dataset.spec)
            count, spec = 32, parts.dataset.spec
            kinds = {name: torch.zeros(count, dtype=torch.long) for name in spec.attributes}
            split = Split(
                torch.rand(count, *spec.image), torch.zeros(count, dtype=torch.long), torch.arange(count), kinds
            )
            for _, defense in model.defenses():
                defense.on_phase_start(phase, model)
            job = Job("key", phase, parts.optim, parts.dataset, parts.task, split, split)
            module = SplitFit(model, job, make_monitor(cfg, model))
            module.order = module.batches()
            assert len(module.order) == 2
            for i in range(2):
                module.step(module.order[i], i / 2)
            terms += module.sums
    return terms


def test_a_step_of_every_kind_makes_no_host_synchronisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Penalties, adversaries, a monitor, augmentation, clipping; every defence alone is tested beside the defences."""
    monkeypatch.setattr(host, "to_host", lambda values: [1.0] * values.numel())  # a phase may start with a look
    augmented = ("dataset.crop=1", "dataset.flip=true", "dataset.rotation=10", "optim.clip=1.0")
    cfg, parts = prepared("defense=[cem,adversarial,noise]", *augmented)
    terms = set(run_steps(cfg, parts))
    assert {"task", "accuracy/train", "penalty/cem", "adversary/adversarial", "monitor/loss"} <= terms


class Reads(Defense):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        if self.how == "item":
            return z.mean() * float(z.max().item())
        if self.how == "bool":
            return z.mean() if z.sum() > 0 else -z.mean()
        if self.how == "mask":
            return z[z > 0].mean()
        return z.flatten(1)[step.y.unique()].mean()


@pytest.mark.parametrize("how", ["item", "bool", "mask", "unique"])
def test_the_test_itself_catches_a_read(how: str) -> None:
    cfg, parts = prepared()
    with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
        run_steps(cfg, parts, {"reads": Reads(how)})
