"""What MLflow holds of a run can be read back from its own database."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from recorded import done, made  # noqa: F401
from small import tiny

from splitpriv.store import Row, Store
from splitpriv.targets import build
from splitpriv.track import base
from splitpriv.track.mlflow import Mlflow
from splitpriv.types import UserError


@pytest.mark.slow
def test_mlflow_holds_settings_curves_results_and_pictures_once(done: tuple[Row, Store]) -> None:  # noqa: F811
    mlflow = pytest.importorskip("mlflow")
    row, store = done
    home = store.root / "track" / "mlflow"
    home.mkdir(parents=True)
    points = list(base.curves(row))
    for sent in (0, 2):  # a run that was interrupted after two points, and then went on
        tracker: Mlflow = build(tiny("track=[mlflow]")["track"]["mlflow"], "track.mlflow")()
        assert tracker.begin(row["key"], row, home, sent) == sent
        for index in range(sent, len(points) if sent else 2):
            tracker.add(index, *points[index])
        assert tracker.flush()
        if sent:
            tracker.complete(row, store)
        tracker.end(finished=bool(sent))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("splitpriv").experiment_id])
    assert run.info.status == "FINISHED" and run.data.tags["splitpriv.key"] == row["key"]
    assert run.data.params["defense.noise.sigma"] == "0.025"
    assert run.data.metrics["privacy/worst/mse"] == pytest.approx(row["privacy/worst/mse"])
    losses = [note["task"] for note in row["trajectory"]]
    assert [m.value for m in client.get_metric_history(run.info.run_id, "fit/fit/task")] == pytest.approx(losses)
    kept = home / "artifacts" / run.info.run_id / "artifacts"
    assert (kept / "reconstructions" / "decoder.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((kept / "row.json").read_text())["key"] == row["key"] and (kept / "flags.txt").read_text()
    assert not Path("mlruns").exists() and os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"uri": "mlruns"}, "track.mlflow.uri: 'mlruns' is no address"),
        ({"uri": "file:///tmp/x"}, "track.mlflow.uri: 'file:///tmp/x' is no address"),
        ({"experiment": " "}, "track.mlflow.experiment: is empty"),
    ],
)
def test_what_mlflow_cannot_take_is_said_before_anything_is_trained(settings: dict[str, str], told: str) -> None:
    from splitpriv.run.prepare import check

    cfg = tiny("track=[mlflow]")
    cfg["track"]["mlflow"].update(settings)
    assert any(told in problem for problem in check(cfg))


def test_mlflow_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    tracker = Mlflow(experiment="e", uri=None, patience=1)
    with pytest.raises(UserError, match=r"pip install 'splitpriv\[mlflow\]'"):
        tracker.begin("k", {}, tmp_path, 0)
