"""A training step: what SplitFit adds to a bare loop, what penalties add to a step, and how near the machine's peak."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.paired import TURNS, Result, cpu, ratios, spread, turns
from splitpriv import config, targets
from splitpriv.data.augment import augment
from splitpriv.data.base import Dataset, Split
from splitpriv.defenses.base import Defended
from splitpriv.run.fit import CHUNK, Job, Recipe, SplitFit
from splitpriv.run.parts import make_model
from splitpriv.tasks.classify import Classify
from splitpriv.types import Epoch, Phase, Spec, Step


class Bench:
    """One config's model, images and recipe; every turn trains a copy."""

    def __init__(self, steps: int, *overrides: str) -> None:
        cfg = config.compose([*overrides, "runtime.channels_last=false"])
        self.dataset: Dataset = targets.build(cfg["dataset"], "dataset")()
        self.recipe: Recipe = targets.build(cfg["optim"], "optim")()
        self.model = make_model(cfg, self.dataset)
        spec: Spec = self.dataset.spec
        count = steps * self.recipe.batch
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (count, *spec.image), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, spec.classes, (count,), generator=generator)
        attributes = {name: torch.zeros_like(labels) for name in spec.attributes}
        self.split, self.steps = Split(images, labels, torch.arange(count), attributes), steps

    def bare(self) -> float:
        """CPU seconds per step of a plain loop: the same images, augmentation, model and optimiser."""
        model: Defended = copy.deepcopy(self.model).train()
        optimizer = self.recipe.optimizer(model.parameters())
        order = torch.randperm(len(self.split)).view(self.steps, -1)
        start = time.process_time()
        for index in order:
            x = augment(
                self.split.x(index), crop=self.dataset.crop, flip=self.dataset.flip, rotation=self.dataset.rotation
            )
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model.net(x), self.split.y[index]).backward()
            optimizer.step()
        return (time.process_time() - start) / self.steps

    def framework(self) -> float:
        """CPU seconds per step of one epoch of SplitFit under Lightning's Trainer, its start and end left out."""
        import pytorch_lightning as pl

        job = Job("bench", Phase("fit", 1), self.recipe, self.dataset, Classify(smoothing=0.0), self.split, self.split)
        module = SplitFit(copy.deepcopy(self.model), job)
        module.validate_epoch = lambda: {"accuracy/val": 0.0}  # type: ignore[method-assign]  # the bare loop has none
        clock = _Stopwatch()
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[clock.callback(pl.Callback)],
        )  # fmt: skip
        trainer.fit(module, list(range(-(-self.steps // CHUNK))))
        return clock.seconds / self.steps


class _Stopwatch:
    """CPU time between the hooks that enclose an epoch's steps."""

    def __init__(self) -> None:
        self.began = self.seconds = 0.0

    def callback(self, base: type) -> Any:
        clock = self

        class Hooks(base):  # type: ignore[misc]
            def on_train_epoch_start(self, *of: Any) -> None:
                clock.began = time.process_time()

            def on_train_epoch_end(self, *of: Any) -> None:
                clock.seconds = time.process_time() - clock.began

        return Hooks()


def overhead(quick: bool) -> Iterator[Result]:
    """SplitFit over a bare loop. A batch of four leaves little but overhead, which does not depend on the batch."""
    count = 3 if quick else 9
    small = Bench(64 if quick else 320, "backbone=tiny", "optim.batch=4")
    extra = [1e6 * (own - bare) for own, bare in _rates(small, count)]
    yield spread("SplitFit over a bare loop, `tiny`, per step", extra, "µs", bar=150)
    large = Bench(2 if quick else 6, "backbone=resnet20", "dataset=fashion_tint")
    shares = [100 * (own / bare - 1) for own, bare in _rates(large, count)]
    yield spread("SplitFit over a bare loop, `resnet20`, batch 128", shares, "%", bar=2)


def _rates(bench: Bench, count: int) -> list[tuple[float, float]]:
    pairs = []
    for turn in range(count + 1):
        calls = [bench.framework, bench.bare]
        first, second = calls if turn % 2 else calls[::-1]
        one, two = first(), second()
        pairs.append((one, two) if turn % 2 else (two, one))
    return pairs[1:]


def penalties(quick: bool) -> Iterator[Result]:
    """CEM's, NoPeek's and HSIC-like penalties beside the step of CEM's split VGG11: forward and backward."""
    for batch in (128,) if quick else (128, 512):
        for name, chain in (("cem", "cem,noise"), ("nopeek", "nopeek,noise")):
            overrides = (
                f"defense=[{chain}]",
                "dataset=fashion_tint",
                "backbone=vgg11",
                "split=cem",
                f"optim.batch={batch}",
            )
            bench = Bench(1, *overrides)
            module = ready(bench)
            defense, index = module.model.chain[name], torch.arange(batch)
            step = _step(module, index)
            with torch.no_grad():
                z = module.model.features(step.x)

            def penalty(defense: Any = defense, z: Any = z, step: Any = step) -> None:
                value = defense.penalty(z.clone().requires_grad_(), step)
                if value is not None:
                    value.backward()

            plain = Bench(1, "defense=[noise]", *overrides[1:])
            trained, order = ready(plain), torch.arange(batch)
            own, other = turns(
                lambda penalty=penalty: [penalty() for _ in range(5)],
                lambda t=trained, o=order: t.step(o, 0.0),
                3 if quick else TURNS,
            )
            share = [100 * r / 5 for r in ratios(own, other)]
            yield spread(f"penalty of {name} over the VGG11 step, batch {batch}", share, "%", bar=1)


def fresh(bench: Bench) -> SplitFit:
    """A module whose steps may be taken by hand."""
    job = Job("bench", Phase("fit", 2), bench.recipe, bench.dataset, Classify(smoothing=0.0), bench.split, bench.split)
    module = SplitFit(copy.deepcopy(bench.model), job)
    module.whole = bench.steps
    return module


def end_epoch(module: SplitFit, number: int) -> None:
    """What the chain does after an epoch, such as CEM's look at all features."""
    module.model.eval()
    end = Epoch("fit", number, 0.05, lambda: iter(()))
    for name, defense in module.model.defenses():
        end.features = lambda name=name: module.features(name)  # type: ignore[misc]
        defense.on_epoch_end(end)
    module.model.train()


def ready(bench: Bench) -> SplitFit:
    """A module past its first epoch, where every penalty pulls."""
    module = fresh(bench)
    end_epoch(module, 0)
    module.epoch = 1
    return module


def _step(module: SplitFit, index: torch.Tensor) -> Any:
    job, split = module.job, module.job.train
    attributes = {k: v[index] for k, v in split.attributes.items()}
    x = module.augmented(index)
    return Step(x, split.y[index], attributes, module.model.net.edge, job.phase.name, 1, 0.5, 0.05)


def peak(quick: bool) -> Iterator[Result]:
    """FLOP/s of a SplitFit step as a share of the bare loop's, and of the best convolution that the machine shows."""
    bench = Bench(2, "dataset=fashion_tint", "backbone=vgg11", "split=cem", "optim.batch=128")
    with FlopCounterMode(display=False) as counter:
        x = bench.split.x(slice(0, 128))
        F.cross_entropy(bench.model.net(x), bench.split.y[:128]).backward()
    flops = counter.get_total_flops()
    pairs = _rates(bench, 2 if quick else TURNS)
    rate = [flops / own / 1e9 for own, _ in pairs]
    best = max(_convolution() for _ in range(2 if quick else TURNS))
    note = f"{flops / 1e9:.0f} GFLOP a step; best convolution {best:.0f} GFLOP/s; SplitFit {max(rate):.0f}"
    shares = [bare / own for own, bare in pairs]
    yield spread("FLOP/s of the VGG11 step over a bare loop's", shares, "", bar=0.95, least=True, note=note)
    yield spread("… over the machine's convolution peak", [r / best for r in rate], "", note=note)


def _convolution() -> float:
    """GFLOP/s of a wide 3x3 convolution, forward, one thread."""
    conv = torch.nn.Conv2d(256, 256, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.rand(16, 256, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        conv(x)
        return 2 * 256 * 256 * 9 * 16 * 32 * 32 / cpu(lambda: conv(x)) / 1e9


BENCHES: dict[str, Callable[[bool], Iterator[Result]]] = {"step": overhead, "penalties": penalties, "peak": peak}
