"""What the framework costs: time per step of SplitFit over a bare PyTorch loop of the same model, as a ratio.

    python scripts/bench_overhead.py [--repeats 7]

Both loops train the same network on the same images with the same batch size, augmentation and optimiser, and take
turns in one process; CPU time is compared, so that another process on the machine matters little.
"""

from __future__ import annotations

import argparse
import statistics
import time

from splitpriv import (
    config,  # before Lightning: it lets torchvision import beside a CPU torch
    targets,
)

# isort: split
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from splitpriv.data.augment import augment
from splitpriv.data.base import Dataset, Split
from splitpriv.defenses.base import Defended
from splitpriv.run.fit import CHUNK, Job, SplitFit
from splitpriv.run.parts import make_model
from splitpriv.run.recipe import Recipe
from splitpriv.tasks.classify import Classify
from splitpriv.types import Phase


def bare(model: Defended, split: Split, dataset: Dataset, recipe: Recipe, steps: int) -> float:
    """CPU seconds per step of a plain loop."""
    net = torch.nn.Sequential(model.net.edge, model.net.cloud).train()
    optimizer = recipe.optimizer(net.parameters())
    order = torch.randperm(len(split))[: steps * recipe.batch].view(steps, recipe.batch)
    start = time.process_time()
    for index in order:
        x = augment(split.x(index), crop=dataset.crop, flip=dataset.flip, rotation=dataset.rotation)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), split.y[index]).backward()
        optimizer.step()
    return (time.process_time() - start) / steps


def framework(model: Defended, split: Split, dataset: Dataset, recipe: Recipe, steps: int) -> float:
    """CPU seconds per step of one epoch of SplitFit under Lightning's Trainer."""
    job = Job(
        "bench",
        Phase("fit", 1),
        recipe,
        dataset,
        Classify(smoothing=0.0),
        split.take(slice(0, steps * recipe.batch)),
        split.take(slice(0)),
    )
    module = SplitFit(model, job)
    clock: dict[str, float] = {}
    module.validate_epoch = lambda: {"accuracy/val": 0.0}  # type: ignore[method-assign]  # the bare loop has none
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[Stopwatch(clock)],
    )  # fmt: skip
    trainer.fit(module, list(range(-(-steps // CHUNK))))
    return clock["end"] / steps


class Stopwatch(pl.Callback):
    """CPU time from the start to the end of the training epoch."""

    def __init__(self, clock: dict[str, float]) -> None:
        self.clock = clock

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock["start"] = time.process_time()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock["end"] = time.process_time() - self.clock["start"]


def main() -> None:
    """Print the ratio for tiny and resnet20."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=7)
    repeats = arguments.parse_args().repeats
    torch.set_num_threads(1)
    for backbone, steps in (("tiny", 60), ("resnet20", 4)):
        cfg = config.compose([f"backbone={backbone}", "runtime.channels_last=false"])
        dataset = targets.build(cfg["dataset"], "dataset")()
        split = dataset.pools(None)["train"]
        recipe = targets.build(cfg["optim"], "optim")()
        ratios, extra = [], []
        for _ in range(repeats + 1):
            model = make_model(cfg, dataset)
            plain = bare(model, split, dataset, recipe, steps)
            ours = framework(model, split, dataset, recipe, steps)
            ratios.append(ours / plain)
            extra.append(1e6 * (ours - plain))
        ratios, extra = ratios[1:], extra[1:]  # the first turn warms up
        print(
            f"{backbone:9} SplitFit / bare loop: median {statistics.median(ratios):.3f} "
            f"(min {min(ratios):.3f}, max {max(ratios):.3f}); {statistics.median(extra):+.0f} µs CPU a step"
        )


if __name__ == "__main__":
    main()
