"""MLflow: a run of its own per row, in a local database or on a server."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from filelock import FileLock

from splitpriv import plain
from splitpriv.config import flatten
from splitpriv.measure.flags import flags_of
from splitpriv.measure.pictures import grid
from splitpriv.store import Row, Store
from splitpriv.track.base import Tracker, labels, name_of, numbers, pictures, settings
from splitpriv.types import NonNegative, UserError

KEY = "splitpriv.key"  # the tag by which a record is found again
BATCH = 900  # MLflow takes 1000 metrics, or 100 settings, at once
LONGEST = 500  # characters of a setting's value
STORES = re.compile(r"(sqlite|postgresql|mysql|mssql|https?|databricks)(\+\w+)?(://|$)")
NAME = re.compile(r"[^\w\-. :/]")  # what no name of a metric or a setting may hold


class Mlflow(Tracker):
    """One MLflow run per row: settings, curves as they grow, results, pictures and flags.

    `uri`: the server or database, None: MLFLOW_TRACKING_URI, else `<outputs>/track/mlflow/mlflow.db`, which
    `mlflow ui --backend-store-uri sqlite:///...` opens. MLflow no longer takes a folder of files.
    """

    live = True

    def __init__(self, *, experiment: str, uri: str | None, patience: NonNegative) -> None:
        super().__init__(patience=patience)
        if uri is not None and not STORES.match(uri):
            raise UserError(f".uri: {uri!r} is no address of MLflow's; give https://… or sqlite:////folder/mlflow.db")
        if not experiment.strip():
            raise UserError(".experiment: is empty; give a name, such as splitpriv")
        self.experiment, self.uri = experiment, uri
        self.waiting: list[Any] = []

    def begin(self, run_id: str, head: Row, home: Path, sent: int) -> int:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise UserError("track: mlflow is not installed; pip install 'splitpriv[mlflow]'") from error
        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
        local = uri.startswith("sqlite")
        with FileLock(home / "begin.lock"):  # two processes must not make one database, or one experiment
            self.client = MlflowClient(tracking_uri=uri)
            found = self.client.get_experiment_by_name(self.experiment)
            place = (home / "artifacts").as_uri() if local else None
            number = found.experiment_id if found else self.client.create_experiment(self.experiment, place)
        earlier = self.client.search_runs([number], f"tags.`{KEY}` = '{run_id}'", max_results=1)
        if earlier:
            self.id = earlier[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
            return sent
        self.id = self.client.create_run(number, run_name=name_of(head), tags={KEY: run_id}).info.run_id
        self._settings(head)
        return 0

    def add(self, index: int, curve: str, step: int, values: dict[str, float]) -> None:
        self.waiting += [self._metric(f"{curve}/{name}", value, step) for name, value in values.items()]

    def flush(self) -> bool:
        while self.waiting:
            self.client.log_batch(self.id, metrics=self.waiting[:BATCH])
            del self.waiting[:BATCH]
        return True

    def complete(self, row: Row, store: Store) -> None:
        self.waiting += [self._metric(name, value, 0) for name, value in numbers(row).items()]
        self.flush()
        told = {**labels(row), **{name: str(row.get(name, "")) for name in ("chain", "dataset", "backbone")}}
        for name, value in told.items():
            self.client.set_tag(self.id, name, plain.line(value))
        for name, shown in pictures(row, store).items():
            page = grid(shown, f"{row['chain']} attacked by {name}")
            self.client.log_image(self.id, page, artifact_file=f"reconstructions/{NAME.sub('_', name)}.png")
        lines = [f"{f.text} ({f.way})" for f in flags_of(row)]
        self.client.log_text(self.id, "\n".join(lines) or "none", "flags.txt")
        self.client.log_text(self.id, plain.dumps(row, indent=1), "row.json")

    def end(self, finished: bool) -> None:
        self.flush()
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED")

    def _settings(self, head: Row) -> None:
        from mlflow.entities import Param

        values = [Param(NAME.sub("_", key), plain.line(str(value))[:LONGEST])
                  for key, value in flatten(settings(head)).items()]  # fmt: skip
        for start in range(0, len(values), 100):
            self.client.log_batch(self.id, params=values[start : start + 100])

    @staticmethod
    def _metric(name: str, value: float, step: int) -> Any:
        from mlflow.entities import Metric

        return Metric(NAME.sub("_", name), float(value), int(1000 * time.time()), step)
