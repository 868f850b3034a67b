"""Training: one step in one place for every defence."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from splitpriv import host, stop
from splitpriv.data.augment import augment
from splitpriv.data.base import Dataset, Split
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.held import rival, scalar
from splitpriv.progress import bar
from splitpriv.run import limits
from splitpriv.run.capture import Captured
from splitpriv.run.descend import descend
from splitpriv.run.recipe import Recipe
from splitpriv.store.state import seed_epoch
from splitpriv.tasks.base import Task, answered, ordered
from splitpriv.types import Epoch, Phase, Step, UserError

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
# Lightning's talk with torch, and what frozen parts are meant to be
for _said in ("LeafSpec", "in eval mode at the start", "`srun` command is available"):
    warnings.filterwarnings("ignore", message=f".*{_said}.*")

CHUNK = 32  # steps per Lightning `training_step`: its bookkeeping costs as much as a small step


@dataclass(frozen=True)
class Job:
    """One phase to train: its schedule, its data on the device, and how the result is chosen."""

    key: str
    phase: Phase
    recipe: Recipe
    dataset: Dataset
    task: Task
    train: Split
    val: Split
    select: str = "last"
    select_after: float = 0.0
    label: str = "fit"
    capture: bool = False

    @property
    def length(self) -> float:
        """In epochs, of which the last may be a part of one."""
        return self.phase.epochs or self.recipe.epochs

    @property
    def epochs(self) -> int:
        return math.ceil(self.length)


class SplitFit(pl.LightningModule):
    """Trains a defended split network for one phase.

    The main optimiser descends the task's loss plus the chain's penalties in one backward pass. Each co-trained
    adversary, and the watching `monitor`, has an optimiser of its own and sees detached features only.
    """

    def __init__(self, model: Defended, job: Job, monitor: Any = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.job, self.monitor = model, job, monitor
        self.epoch = 0
        self.curve: list[dict[str, Any]] = []
        self.best = -math.inf
        self.on_best: Callable[[], None] = lambda: None
        self.after_epoch: Callable[[], None] = lambda: None
        self.ticker = bar(job.label, 0, unit="step")
        self.sums: dict[str, Tensor] = {}
        self.order = torch.empty(0, dtype=torch.long)
        self.whole = 0  # steps of an epoch that is not cut short
        self._set_modes()
        learns = "defense" in job.phase.train
        self.adversaries = {name: d for name, d in model.defenses() if learns and d.adversary_parameters()}
        self.main = job.recipe.optimizer(self._main_groups())
        self.schedule = job.recipe.schedule(self.main) if job.recipe.schedule else None
        self.own = {name: rival(d, model.net, f"defense.{name}") for name, d in self.adversaries.items()}
        if monitor is not None:
            self.own["monitor"] = monitor.optimizer()
        steady = job.recipe.rise is None and all(d.steady for _, d in model.defenses())
        self.captured = Captured(self.step, job.train.y.device, job.capture and steady, [self.main, *self.own.values()])

    # ---- what learns ----

    def _set_modes(self) -> None:
        """Training mode and gradients for the parts of this phase; the others are frozen, statistics included."""
        parts = {"edge": self.model.net.edge, "cloud": self.model.net.cloud, "defense": self.model.chain}
        self.model.train()
        for name, part in parts.items():
            part.train(name in self.job.phase.train)
            part.requires_grad_(name in self.job.phase.train)
        for name in self.job.phase.frozen:
            self.model.net.get_submodule(name).eval().requires_grad_(False)
        for name, p in self.model.named_parameters():
            p.requires_grad_(p.requires_grad and name not in self.model.frozen)

    def _main_parameters(self) -> list[nn.Parameter]:
        theirs = {id(p) for _, d in self.model.defenses() for p in d.adversary_parameters()}
        return [p for p in self.model.parameters() if p.requires_grad and id(p) not in theirs]

    def _main_groups(self) -> Any:
        """The same for the optimiser: one list, or a second group without weight decay where a defence asks for it."""
        free = {id(p) for _, d in self.model.defenses() for p in d.undecayed()}
        every = self._main_parameters()
        apart = [p for p in every if id(p) in free]
        if not apart:
            return every
        return [{"params": [p for p in every if id(p) not in free]}, {"params": apart, "weight_decay": 0.0}]

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.main, *self.own.values()]

    # ---- the step ----

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        first = int(batch_idx) * CHUNK
        for i in range(first, min(first + CHUNK, len(self.order))):
            self.captured(self.order[i], i / self.whole)
            self.ticker.update()
            stop.check()

    def step(self, index: Tensor, share: float) -> None:
        """One optimisation step on the training images at `index` (N,), at `share` of its epoch; reads nothing back."""
        job, model = self.job, self.model
        x, done = self.augmented(index), (self.epoch + share) / job.length
        job.recipe.pace(self.main, done)
        step = Step(
            x, job.train.y[index], {k: v[index] for k, v in job.train.attributes.items()}, model.net.edge,
            job.phase.name, self.epoch, done, self.main.param_groups[0]["lr"], job.length,
        )  # fmt: skip
        terms: dict[str, Tensor] = {}
        received: list[tuple[str, Defense, Tensor]] = []
        for name, defense, z in model.walk(x):
            if defense is None:
                released = z
                break
            received.append((name, defense, z))
            if name in self.adversaries:
                for _ in range(defense.adversary_steps):
                    loss = scalar(defense.adversary_loss(z.detach(), step), f"defense.{name}: adversary_loss")
                    terms[f"adversary/{name}"] = descend(model, self.own[name], loss)
        losses, right = answered(job.task, model, released, step)
        terms |= losses
        for name, defense, z in received:  # after the cloud has answered, which some penalties look at
            penalty = defense.penalty(z, step)
            if penalty is not None:
                terms[f"penalty/{name}"] = scalar(penalty, f"defense.{name}: penalty", "edge" in job.phase.train)
        main = [value for name, value in terms.items() if not name.startswith("adversary/")]
        descend(model, self.main, torch.stack(main).sum() if len(main) > 1 else main[0], job.recipe.clip)
        if self.monitor is not None:
            for _ in range(self.monitor.steps):
                terms["monitor/loss"] = descend(
                    model, self.own["monitor"], self.monitor.step_loss(released.detach(), x)
                )
        for _, defense, z in received:
            defense.on_step_end(z.detach(), step)
        terms["accuracy/train"] = right.float().mean()
        for name, value in terms.items():
            if name in self.sums:
                self.sums[name].add_(value.detach())  # in place, as a captured step needs
            else:
                self.sums[name] = value.detach().clone()

    def augmented(self, index: Tensor) -> Tensor:
        """Training images at `index` with the data set's random crop, flip and rotation."""
        kind = self.job.dataset
        return augment(self.job.train.pixels(index), crop=kind.crop, flip=kind.flip, rotation=kind.rotation)

    # ---- epochs ----

    def on_train_epoch_start(self) -> None:
        seed_epoch(self.job.key, self.epoch)
        self.sums = {}
        self.captured.begin()
        order = self.batches()
        self.whole = len(order)
        self.order = order[: max(1, round((self.job.length - self.epoch) * len(order)))]
        self._set_modes()

    def batches(self) -> Tensor:
        """The training images of one epoch, (steps, batch)."""
        return ordered(self.job.task, self.job.train, self.job.recipe.batch)

    def on_train_epoch_end(self) -> None:
        note: dict[str, Any] = {
            "phase": self.job.phase.name,
            "epoch": self.epoch,
            "lr": self.main.param_groups[0]["lr"],
        }
        told = torch.stack(list(self.sums.values())) / len(self.order)
        *values, whole = host.to_host(torch.cat([told, limits.finite(self.model).to(told.dtype)]))
        note |= dict(zip(self.sums, values, strict=True))
        broken = [name for name, value in note.items() if isinstance(value, float) and not math.isfinite(value)]
        broken += [] if whole else ["a weight"]
        if broken:
            raise UserError(
                f"optim.optimizer.lr: {', '.join(broken)} became NaN or infinite in epoch {self.epoch + 1} of phase "
                f"{self.job.phase.name!r}; lower optim.optimizer.lr, set optim.clip, or lower the weight of the penalty"
            )
        self.model.eval()
        end = Epoch(self.job.phase.name, self.epoch, note["lr"], lambda: iter(()))
        for name, defense in self.model.defenses():
            end.features = lambda name=name: self.features(name)  # type: ignore[misc]
            defense.on_epoch_end(end)
        note |= self.validate_epoch()
        if self.schedule is not None:
            self.schedule.step()
        self.curve.append(note)
        self.epoch += 1
        shown = ("accuracy/val", "monitor/mse")
        self.ticker.set_postfix({k: f"{note[k]:.4f}" for k in shown if k in note}, refresh=False)
        if note["accuracy/val"] > self.best and self.epoch > self.job.select_after * self.job.epochs:
            self.best = note["accuracy/val"]
            self.on_best()
        self.after_epoch()

    @torch.no_grad()
    def features(self, place: str) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over augmented training batches: (z as the defence called `place` receives it, y)."""
        for index in self.batches():
            z = next(z for name, _, z in self.model.walk(self.augmented(index)) if name == place)
            yield z, self.job.train.y[index]

    @torch.no_grad()
    def validate_epoch(self) -> dict[str, float]:
        """Accuracy on val and, where a monitor watches, its reconstruction error there."""
        sums: dict[str, Tensor] = {}
        for i in range(0, len(self.job.val), 256):
            part = self.job.val.take(slice(i, i + 256))
            x = part.x(slice(None))
            released = self.model.release(x)
            scores = {"accuracy/val": (self.model.classify(released).argmax(1) == part.y).float()}
            if self.monitor is not None:
                mse, similarity = self.monitor.score(released, x)
                scores |= {"monitor/mse": mse, "monitor/ssim": similarity}
            for name, value in scores.items():
                sums[name] = sums.get(name, 0) + value.sum()
        return dict(zip(sums, host.to_host(torch.stack(list(sums.values())) / len(self.job.val)), strict=True))
