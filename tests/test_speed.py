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
from splitpriv.run.prepare import check
from splitpriv.types import Step

DEFENSES = sorted(p.stem for p in (config.CONF / "defense").glob("*.yaml"))
NEEDS_NOISE = "there is none"


def prepared(*overrides: str) -> tuple[config.Config, Parts]:
    cfg = config.compose([*SMALL, *DECODER, *MONITOR, *overrides])
    return cfg, assemble(cfg)


def chain_of(name: str) -> list[str]:
    """The overrides of a chain with this defence, with noise beside it where it asks for some."""
    problems = check(config.compose([*SMALL, f"defense=[{name}]"]))
    assert all(NEEDS_NOISE in problem for problem in problems)
    return [f"defense=[{name},noise]"] if problems else [f"defense=[{name}]"]


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


@pytest.mark.parametrize("name", DEFENSES)
def test_a_step_makes_no_host_synchronisation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "to_host", lambda values: [1.0] * values.numel())  # a phase may start with a look
    cfg, parts = prepared(*chain_of(name))
    terms = run_steps(cfg, parts)
    assert {"task", "accuracy/train", "monitor/loss"} <= set(terms)
    if name in ("cem", "cem_compat", "cem_paper", "nopeek", "adversarial", "ressfl"):
        assert any(term.startswith("penalty/") for term in terms)
    if name in ("adversarial", "ressfl"):
        assert any(term.startswith("adversary/") for term in terms)


def test_neither_does_augmentation_nor_a_clipped_step() -> None:
    cfg, parts = prepared("dataset.crop=1", "dataset.flip=true", "dataset.rotation=10", "optim.clip=1.0")
    assert "task" in run_steps(cfg, parts)


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
