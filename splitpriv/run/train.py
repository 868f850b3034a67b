"""One phase of training, from its last epoch to its weights: it survives a kill."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.trainer.connectors import callback_connector

from splitpriv import stop
from splitpriv.defenses.base import Defended
from splitpriv.progress import bar
from splitpriv.run.fit import CHUNK, Job, SplitFit
from splitpriv.store import write_atomic
from splitpriv.store.state import found_state, read_state, restore, save_state
from splitpriv.tasks.base import placed

# Every Trainer asks all packages that are installed for callbacks, which takes as long as a small run's epoch.
with contextlib.suppress(AttributeError):  # of another version, which asks in another place
    callback_connector._load_external_callbacks = functools.cache(callback_connector._load_external_callbacks)  # type: ignore[attr-defined]


def train_phase(model: Defended, job: Job, home: Path, monitor: Any = None) -> None:
    """Train `model` for one phase and write `weights.pt` and `curve.json` into `home`.

    An interrupted phase continues from its last epoch and ends in the numbers it would have had. Raise UserError when a
    loss becomes NaN.
    """
    module = SplitFit(model, job, monitor)
    parts: dict[str, Any] = {"model": model, "main": module.main, **{f"own/{k}": o for k, o in module.own.items()}}
    if module.schedule is not None:
        parts["schedule"] = module.schedule
    if monitor is not None:
        parts["monitor"] = monitor
    last = found_state(home / "last.pt")
    chosen = job.select == "best" and last is not None and last["notes"]["best"] > -math.inf
    if chosen and found_state(home / "best.pt") is None:
        last = None  # the best epoch is lost: only training again finds it
    if last:
        restore(last, parts)
        module.epoch, module.curve, module.best = last["epoch"], last["notes"]["curve"], last["notes"]["best"]
    steps = placed(job.task, module.batches(), job.train)
    module.ticker = bar(job.label, round(job.length * steps), unit="step", initial=module.epoch * steps)
    if job.select == "best":
        module.on_best = lambda: save_state(home / "best.pt", module.epoch, {"model": model}, None)

    def after_epoch() -> None:
        save_state(home / "last.pt", module.epoch, parts, {"curve": module.curve, "best": module.best})
        write_atomic(home / "curve.json", json.dumps(module.curve))  # for whoever watches the run
        stop.epoch_ended(module.curve)

    module.after_epoch = after_epoch
    interrupted = _Interrupted()
    trainer = pl.Trainer(
        max_epochs=job.epochs - module.epoch, **_placed(job.train.y.device),
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=str(home), callbacks=[interrupted], plugins=[LightningEnvironment()],  # Slurm's is not ours
    )  # fmt: skip
    try:
        if module.epoch < job.epochs:
            trainer.fit(module, list(range(math.ceil(steps / CHUNK))))
            model.to(job.train.y.device)  # Lightning leaves what it trained on the CPU
    except SystemExit:  # what Lightning makes of a signal that nobody else handles, with a code of success
        raise (KeyboardInterrupt if interrupted.seen else stop.Stopped(signal.SIGTERM)) from None
    finally:
        module.ticker.close()
    if job.select == "best":
        restore(read_state(home / "best.pt"), {"model": model})
    save_state(home / "weights.pt", job.epochs, {"model": model}, None)
    for scratch in ("last.pt", "best.pt"):
        (home / scratch).unlink(missing_ok=True)


def leave(model: Defended, home: Path) -> None:
    """Write what `train_phase` would, of a model that nothing trains."""
    write_atomic(home / "curve.json", json.dumps([]))
    save_state(home / "weights.pt", 0, {"model": model}, None)


def _placed(device: torch.device) -> dict[str, Any]:
    """What Lightning calls a device, of which there may be several."""
    if device.type == "cuda":
        return {"accelerator": "gpu", "devices": [device.index or 0]}
    return {"accelerator": device.type, "devices": 1}


class _Interrupted(pl.Callback):
    seen = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.seen = isinstance(exception, KeyboardInterrupt)


def load_weights(model: Defended, home: Path, net_only: bool = False) -> None:
    """Load what `train_phase` wrote; `net_only` leaves the chain as it is (the phase before was idle)."""
    state: Mapping[str, Any] = read_state(home / "weights.pt")["parts"]["model"]
    if net_only:
        model.net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net.")})
    else:
        model.load_state_dict(state)
