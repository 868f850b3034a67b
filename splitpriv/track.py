"""Trackers (W&B, TensorBoard, CSV) read finished rows, in processes of their own that neither fail nor slow a run."""

from __future__ import annotations

import csv
import hashlib
import json
import netrc
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from splitpriv.config import Config, build
from splitpriv.store import Row, Store
from splitpriv.types import NonNegative, UserError


class Tracker:
    """Records one finished row somewhere. `home` is the tracker's folder; `patience` is how long a single run waits."""

    def __init__(self, *, patience: NonNegative) -> None:
        self.patience = patience

    def record(self, row: Row, store: Store, home: Path) -> None:
        """Write down `row`, from what lies in `store` and from nothing else."""
        raise NotImplementedError


# ---- what trackers share: a row as curves, numbers and pictures ----------------------------------------------------


def curves(row: Row) -> Iterator[tuple[str, int, dict[str, float]]]:
    """(name, step, values) of every learning curve: each phase of the fit, then each attack."""
    for step, note in enumerate(row["trajectory"]):
        values = {k: v for k, v in note.items() if isinstance(v, int | float) and k not in ("phase", "epoch")}
        yield f"fit/{note['phase']}", step, values
    found = [key.split("/") for key, value in row.items() if key.startswith("attack/") and _is_curve(value)]
    for name in dict.fromkeys(parts[1] for parts in found):
        lines = {parts[2]: row["/".join(parts)] for parts in found if parts[1] == name}
        for step in range(max(map(len, lines.values()))):
            yield f"attack/{name}", step, {k: line[step] for k, line in lines.items() if step < len(line)}


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, int | float) for v in value)


def settings(row: Row) -> dict[str, Any]:
    """The resolved config that a row was made from, nested, with its key and seeds."""
    named = ("key", "chain", "seed", "attack_seed", "setting", "precision")
    tree: dict[str, Any] = {name: row[name] for name in named if name in row}
    for key, value in row.items():
        if "." in key and "/" not in key:
            *path, last = key.split(".")
            node = tree
            for part in path:
                node = node.setdefault(part, {})
            node[last] = value
    return tree


def numbers(row: Row) -> dict[str, float]:
    """The scalar results of a row: utility, privacy, floors, bounds, cost."""
    groups = ("utility/", "privacy/", "clean/", "floor/", "bound/", "information/", "fairness/", "cost/", "defense/")
    return {k: v for k, v in row.items() if k.startswith(groups) and isinstance(v, int | float)}


def pictures(row: Row, store: Store) -> dict[str, Path]:
    """The reconstruction grid of every attack that rebuilds images."""
    return {key[8:]: store.root / value for key, value in row.items() if key.startswith("picture/")}


def victims(row: Row, store: Store) -> tuple[list[str], list[list[Any]]]:
    """Per-image scores as a table: attack, victim, and one column per metric."""
    from safetensors.numpy import load_file

    columns: dict[str, None] = {}
    lines: list[dict[str, Any]] = []
    for name, grid in pictures(row, store).items():
        scores = load_file(grid.with_name("scores.safetensors"))
        columns |= dict.fromkeys(scores)
        count = len(next(iter(scores.values())))
        lines += [{"attack": name, "victim": i, **{k: float(v[i]) for k, v in scores.items()}} for i in range(count)]
    header = ["attack", "victim", *columns]
    return header, [[line.get(column) for column in header] for line in lines]


# ---- trackers ------------------------------------------------------------------------------------------------------


class Csv(Tracker):
    """rows.csv with every finished run, and <key>.csv with the learning curves of each."""

    def record(self, row: Row, store: Store, home: Path) -> None:
        from splitpriv.report import write_csv

        with (home / f"{row['key']}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["curve", "step", "name", "value"])
            writer.writerows([curve, step, k, v] for curve, step, values in curves(row) for k, v in values.items())
        with FileLock(home / "rows.lock"), (home / "rows.csv").open("w", newline="") as file:
            write_csv(store.rows(), file)


class TensorBoard(Tracker):
    """Event files, one folder per run."""

    def record(self, row: Row, store: Store, home: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("track: tensorboard is not installed; pip install 'splitpriv[tensorboard]'") from error
        import numpy as np
        from PIL import Image

        with SummaryWriter(str(home / row["key"])) as writer:
            for curve, step, values in curves(row):
                for name, value in values.items():
                    writer.add_scalar(f"{curve}/{name}", value, step)
            for name, value in numbers(row).items():
                writer.add_scalar(name, value, 0)
            for name, path in pictures(row, store).items():
                writer.add_image(f"reconstructions/{name}", np.asarray(Image.open(path)), dataformats="HWC")
            writer.add_text("config", f"```json\n{json.dumps(settings(row), indent=1)}\n```")
            writer.add_text("flags", "\n\n".join(row["flags"]) or "none")


class Wandb(Tracker):
    """Weights & Biases: the run's id is the row's key, so a sweep merges nothing and a repeated command adds nothing.

    `mode` auto is online where a key is set and offline otherwise (`wandb sync` sends it later). Inside a W&B sweep the
    agent's own run is continued, so that its search sees the results.
    """

    def __init__(
        self, *, project: str, entity: str | None, mode: Literal["auto", "online", "offline"], patience: NonNegative
    ) -> None:
        super().__init__(patience=patience)
        self.project, self.entity, self.mode = project, entity, mode

    def record(self, row: Row, store: Store, home: Path) -> None:
        wandb = _wandb()
        agent = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        tags = [*row["chain"].split("+"), row["dataset"], row["backbone"]]
        about: dict[str, Any] = {
            "name": f"{row['chain']} seed {row['seed']}", "job_type": "run", "config": settings(row),
            "group": f"{row['dataset']}-{row['backbone']}-{row['cut']}-{row['chain']}",
            "tags": [tag[:64] for tag in dict.fromkeys(tags)],
        }  # fmt: skip
        with self.begin(home, agent or row["key"], **about) as run:
            for curve in dict.fromkeys(name for name, _, _ in curves(row)):
                run.define_metric(f"{curve}/step", hidden=True)
                run.define_metric(f"{curve}/*", step_metric=f"{curve}/step")
            for curve, step, values in curves(row):
                run.log({f"{curve}/{name}": value for name, value in values.items()} | {f"{curve}/step": step})
            header, lines = victims(row, store)
            final: dict[str, Any] = {
                f"reconstructions/{k}": wandb.Image(str(p)) for k, p in pictures(row, store).items()
            }
            final["scores"] = wandb.Table(columns=header, data=lines)
            final["flags"] = wandb.Table(columns=["flag"], data=[[flag] for flag in row["flags"]])
            run.log(final)
            run.summary.update({**numbers(row), "flag_count": len(row["flags"]), "commit": row["commit"]})

    def begin(self, home: Path, key: str, **about: Any) -> Any:
        """A W&B run under an id of ours."""
        quiet = _wandb().Settings(console="off", silent=True, x_disable_stats=True, init_timeout=60)
        return _wandb().init(project=self.project, entity=self.entity, id=key, resume="allow", dir=str(home),
                             mode=self.chosen_mode(), settings=quiet, **about)  # fmt: skip

    def chosen_mode(self) -> Literal["online", "offline"]:
        """Online where a key is set, unless told otherwise."""
        if self.mode != "auto":
            return self.mode
        if os.environ.get("WANDB_MODE") in ("online", "offline"):
            return "online" if os.environ["WANDB_MODE"] == "online" else "offline"
        try:
            known = netrc.netrc().authenticators("api.wandb.ai") is not None
        except (OSError, netrc.NetrcParseError):
            known = False
        return "online" if known or os.environ.get("WANDB_API_KEY") else "offline"

    def report(self, rows: Sequence[Row], store: Store, home: Path, picture: Path, metric: str) -> str:
        """A run that compares `rows`: a native scatter of utility against privacy, the rendered picture, the table."""
        wandb = _wandb()
        keys = sorted(row["key"] for row in rows)
        key = "report-" + hashlib.sha256(" ".join([*keys, metric]).encode()).hexdigest()[:12]
        header = ["chain", "dataset", "backbone", "seed", "utility", f"privacy/worst/{metric}", "flags", "key"]
        lines = [
            [row["chain"], row["dataset"], row["backbone"], row["seed"], row[f"utility/{row['headline']}"],
             row.get(f"privacy/worst/{metric}"), "; ".join(row["flags"]), row["key"]] for row in rows
        ]  # fmt: skip
        table = wandb.Table(columns=header, data=lines)
        with self.begin(home, key, name="report", job_type="report", config={"rows": keys}) as run:
            scatter = wandb.plot.scatter(table, "utility", f"privacy/worst/{metric}", title="privacy against utility")
            run.log({"curve": scatter, "picture": wandb.Image(str(picture)), "rows": table})
        return key


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UserError("track: wandb is not installed; pip install 'splitpriv[wandb]'") from error
    return wandb


# ---- processes -----------------------------------------------------------------------------------------------------


def start(row: Row, trackers: Mapping[str, Config], store: Store, wait: bool) -> list[str]:
    """Start the listed trackers, each in a process of its own; what went wrong until patience ended.

    A row is recorded once: a tracker that finished leaves a mark. Without `wait` nothing is waited for.
    """
    begun = []
    for name, node in trackers.items():
        home = store.root / "track" / name
        if (home / f"{row['key']}.done").exists():
            continue
        home.mkdir(parents=True, exist_ok=True)
        order = json.dumps({"name": name, "node": node, "key": row["key"], "root": str(store.root)})
        with (home / f"{row['key']}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "splitpriv.track"], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(order)
        process.stdin.close()
        begun.append((name, node, process, home / f"{row['key']}.log"))
    return [said for name, node, process, log in begun if wait and (said := _await(name, node, process, log))]


def _await(name: str, node: Mapping[str, Any], process: subprocess.Popen[str], log: Path) -> str | None:
    try:
        code = process.wait(timeout=float(node["patience"]))
    except subprocess.TimeoutExpired:
        return f"track {name}: still at work after {node['patience']} s; it goes on in the background (see {log})"
    last = (log.read_text().strip().splitlines() or ["no message"])[-1]
    return f"track {name}: failed, the run is safe: {last} (see {log})" if code else None


def main() -> None:
    """Record one row, told on standard input; called in a process of its own."""
    order = json.load(sys.stdin)
    store = Store(order["root"])
    home = store.root / "track" / order["name"]
    row = store.row(order["key"])
    assert row is not None, f"no row {order['key']}"
    tracker: Tracker = build(order["node"], f"track.{order['name']}")()
    begun = time.time()
    tracker.record(row, store, home)
    (home / f"{row['key']}.done").write_text(f"{time.time() - begun:.1f} s\n")


if __name__ == "__main__":
    main()
