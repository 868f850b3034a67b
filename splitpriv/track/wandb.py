"""Weights & Biases."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from splitpriv import plain
from splitpriv.measure.flags import flags_of
from splitpriv.measure.pictures import tiles
from splitpriv.store import Row, Store
from splitpriv.track.base import Tracker, labels, name_of, numbers, pictures, settings, victims
from splitpriv.types import NonNegative, UserError


class Wandb(Tracker):
    """Weights & Biases: the run's id is the row's key, so a sweep merges nothing and a repeated command adds nothing.

    `mode` auto is W&B's own (WANDB_MODE, `wandb offline`, its settings files), and offline where W&B knows no key
    (`wandb sync` sends it later). Where W&B is disabled, nothing is recorded, whatever `mode` is. Inside a W&B sweep
    the agent's own run is continued, so that its search sees the results.
    """

    live = True

    def __init__(
        self, *, project: str, entity: str | None, mode: Literal["auto", "online", "offline"], patience: NonNegative
    ) -> None:
        super().__init__(patience=patience)
        self.project, self.entity, self.mode = project, entity, mode

    def is_off(self) -> bool:
        return str(_settings().mode) == "disabled"

    def run_id(self, key: str, alone: bool) -> str:
        agent = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        return agent if agent and alone else key

    def begin(self, run_id: str, head: Row, home: Path, sent: int) -> int:
        if run_id != os.environ.get("WANDB_RUN_ID"):
            os.environ.pop("WANDB_SWEEP_ID", None)  # inside a sweep W&B overrules the id that it is given
        offline = self.chosen_mode() == "offline"
        if offline:
            _drop_unfinished(run_id, home)
        tags = [*head["chain"].split("+"), *(str(head[k]) for k in ("study", "dataset", "backbone") if head.get(k))]
        self.run = self.open(
            home, run_id, name=name_of(head), job_type="run", config=plain.finite(settings(head)),
            group="-".join(str(head[k]) for k in ("study", "dataset", "backbone", "cut", "chain") if k in head),
            tags=[tag[:64] for tag in dict.fromkeys(tags) if tag],
        )  # fmt: skip
        self.defined: set[str] = set()
        self.count = sent if offline else int(self.run.starting_step)  # a server knows best what it has
        return self.count

    def add(self, index: int, curve: str, step: int, values: dict[str, float]) -> None:
        if curve not in self.defined:
            self.defined.add(curve)
            self.run.define_metric(f"{curve}/step", hidden=True)
            self.run.define_metric(f"{curve}/*", step_metric=f"{curve}/step")
        finite = {name: value for name, value in values.items() if math.isfinite(value)}  # the row says which were not
        point = {f"{curve}/{name}": value for name, value in finite.items()} | {f"{curve}/step": step}
        self.run.log(point, step=index, commit=True)
        self.count = index + 1

    def complete(self, row: Row, store: Store) -> None:
        wandb = _wandb()
        header, lines = victims(row, store)
        final: dict[str, Any] = {}
        for name, shown in pictures(row, store).items():
            pairs = np.concatenate([tiles(shown.x), tiles(shown.images)], axis=1)  # each victim above what was rebuilt
            mse = [f"{word}: MSE {value:.3g}" for word, value in zip(shown.names(), shown.scores["mse"], strict=True)]
            final[f"reconstructions/{name}"] = [wandb.Image(p, caption=c) for p, c in zip(pairs, mse, strict=True)]
        final["scores"] = wandb.Table(columns=header, data=lines)
        final["flags"] = wandb.Table(columns=["flag", "what clears it"], data=[[f.text, f.way] for f in flags_of(row)])
        self.run.log(final, step=self.count, commit=True)
        told = {**labels(row), "flag_count": len(flags_of(row)), "commit": row.get("commit"),
                plain.NOT_FINITE: plain.finite(row).get(plain.NOT_FINITE, {})}  # fmt: skip
        self.run.summary.update({**numbers(row), **told})

    def end(self, finished: bool) -> None:
        self.run.finish(exit_code=0 if finished else 1)

    def open(self, home: Path, run_id: str, **about: Any) -> Any:
        """A W&B run under an id of ours, resumed where the server knows it."""
        quiet = _wandb().Settings(console="off", silent=True, x_disable_stats=True, init_timeout=60)
        return _wandb().init(project=self.project, entity=self.entity, id=run_id, resume="allow", dir=str(home),
                             mode=self.chosen_mode(), settings=quiet, **about)  # fmt: skip

    def chosen_mode(self) -> Literal["online", "offline", "disabled"]:
        """What W&B says, unless told otherwise; offline where it was told nothing and knows no key."""
        if self.is_off():
            return "disabled"
        if self.mode != "auto":
            return self.mode
        told = _settings()
        if str(told.mode) in ("offline", "dryrun"):
            return "offline"
        return "online" if "mode" in told.model_fields_set or _has_key(told) else "offline"

    def report(self, rows: Sequence[Row], home: Path, picture: Path, drawn: Mapping[str, Any], by: str) -> str:
        """A run that compares those of `rows` that were `drawn` (the numbers of `curves.draw`); its id.

        It holds a native scatter on the same axes, the rendered picture and the table, `by` among its columns.
        """
        if self.is_off():
            raise UserError("track: W&B is disabled, so there is no report; see WANDB_MODE, or run `wandb enabled`")
        wandb = _wandb()
        x, y = drawn["x"], drawn["y"]
        keys = sorted(key for point in drawn["points"] for key in point["keys"])
        run_id = "report-" + hashlib.sha256(" ".join([*keys, x, y, by]).encode()).hexdigest()[:12]
        header = list(dict.fromkeys([by, "chain", "dataset", "backbone", "seed", x, y, "flags", "key"]))
        told = [{**row, "flags": [flag.text for flag in flags_of(row)]} for row in rows if row["key"] in keys]
        lines = [[_told(row.get(column)) for column in header] for row in told]
        table = wandb.Table(columns=header, data=lines)
        with self.open(home, run_id, name="report", job_type="report", config={"rows": keys}) as run:
            scatter = wandb.plot.scatter(table, x, y, title=f"{y} against {x}")
            run.log({"curve": scatter, "picture": wandb.Image(str(picture)), "rows": table})
        return run_id


def _told(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return "; ".join(map(str, value)) if isinstance(value, list) else value


def _drop_unfinished(run_id: str, home: Path) -> None:
    """Remove local records of the run that were never closed, since what they hold is recorded again."""
    mark = home / f"{run_id}.sent"  # written when a record is closed
    closed = mark.stat().st_mtime_ns if mark.exists() else 0
    for path in home.glob(f"wandb/offline-run-*/run-{run_id}.wandb"):
        if path.stat().st_mtime_ns > closed:
            shutil.rmtree(path.parent)


def _settings() -> Any:
    """What W&B makes of its environment, its settings files and its defaults."""
    _wandb()
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings


def _has_key(told: Any) -> bool:
    """Whether W&B finds credentials for its server, without asking anybody."""
    from wandb.errors import AuthenticationError

    try:
        from wandb.sdk.lib import wbauth
    except ImportError:  # an older one
        return _wandb().api.api_key is not None
    try:
        return wbauth.authenticate_session(
            host=told.base_url, source="splitpriv", prompt=False, update_session=False
        ) is not None  # fmt: skip
    except AuthenticationError:  # one that W&B will refuse, and say why
        return True


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UserError("track: wandb is not installed; pip install 'wandb>=0.19,<1'") from error
    return wandb
