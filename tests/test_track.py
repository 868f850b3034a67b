"""What trackers write can be read back, and none can fail or slow a run."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small import tiny

from splitpriv import cli, track
from splitpriv.pipeline import execute
from splitpriv.store import Row, Store

ALL = ("track=[wandb,csv,tensorboard]", "track.wandb.mode=offline")


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Row, Store]:
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    store = Store(tmp_path / "outputs")
    return execute(tiny("defense=[noise]"), store), store


def inspected(home: Path, *options: str) -> list[dict[str, Any]]:
    """What a server would receive: the records of the only offline run."""
    folder = next(home.glob("wandb/offline-run-*"))
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in found.splitlines() if line.strip()]


def test_wandb_receives_the_whole_row(done: tuple[Row, Store]) -> None:
    pytest.importorskip("wandb")
    row, store = done
    assert track.start(row, tiny("defense=[noise]", *ALL)["track"], store, wait=True) == []
    records = inspected(store.root / "track" / "wandb")
    run = next(r["run"] for r in records if r["type"] == "run")
    assert run["run_id"] == row["key"] and run["run_group"].endswith("noise") and "noise" in run["tags"]
    text = json.dumps(run["config"])
    assert '"sigma": 0.025' in text and '"seed": 0' in text
    history = [r["history"]["item"] for r in records if r["type"] == "history"]
    assert [h["fit/fit/task"] for h in history if "fit/fit/task" in h] == [n["task"] for n in row["trajectory"]]
    assert [h["attack/decoder/held"] for h in history if "attack/decoder/held" in h] == row["attack/decoder/held"]
    assert all(any(name in json.dumps(h) for h in history) for name in ("reconstructions/decoder", "scores", "flags"))
    updates = [r["summary"]["update"] for r in records if r["type"] == "summary" and "update" in r["summary"]]
    summary = {k: v for update in updates for k, v in update.items()}
    assert (
        summary["privacy/worst/mse"] == row["privacy/worst/mse"]
        and summary["utility/accuracy"] == row["utility/accuracy"]
    )
    table = next((store.root / "track/wandb/wandb").glob("offline-run-*/files/media/table/scores*.json"))
    scores = json.loads(table.read_text())
    assert scores["columns"][:3] == ["attack", "victim", "mse"] and len(scores["data"]) == row["victims"]
    folders = list((store.root / "track/wandb/wandb").glob("offline-run-*"))
    assert track.start(row, tiny(*ALL)["track"], store, wait=True) == []
    assert list((store.root / "track/wandb/wandb").glob("offline-run-*")) == folders  # a row is recorded once


def test_csv_and_tensorboard_hold_the_curves(done: tuple[Row, Store]) -> None:
    pytest.importorskip("tensorboard")
    row, store = done
    assert track.start(row, tiny("track=[csv,tensorboard]")["track"], store, wait=True) == []
    home = store.root / "track"
    lines = list(csv.DictReader((home / "csv" / f"{row['key']}.csv").open()))
    held = [float(line["value"]) for line in lines if (line["curve"], line["name"]) == ("attack/decoder", "held")]
    assert held == row["attack/decoder/held"]
    assert [r["key"] for r in csv.DictReader((home / "csv/rows.csv").open())] == [row["key"]]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(home / "tensorboard" / row["key"]))
    events.Reload()
    assert [e.value for e in events.Scalars("fit/fit/task")] == pytest.approx([n["task"] for n in row["trajectory"]])
    assert events.Tags()["images"] == ["reconstructions/decoder"]


def test_a_failing_tracker_fails_no_run(done: tuple[Row, Store], capsys: pytest.CaptureFixture[str]) -> None:
    row, store = done
    trackers = tiny("track=[csv]")["track"]
    shutil.rmtree(store.root / "measure")  # pictures and scores are gone
    (store.root / "track" / "csv" / "rows.csv").mkdir(parents=True)
    said = track.start(row, trackers, store, wait=True)
    assert len(said) == 1 and said[0].startswith("track csv: failed, the run is safe: ") and ".log" in said[0]
    assert cli.point(tiny("defense=[noise]", "track=[csv]"))["key"] == row["key"]
    assert "the run is safe" in capsys.readouterr().err


def test_a_slow_tracker_is_left_behind(done: tuple[Row, Store]) -> None:
    row, store = done
    slow = {"csv": {**tiny("track=[csv]")["track"]["csv"], "patience": 0}}
    assert "goes on in the background" in track.start(row, slow, store, wait=True)[0]
    assert track.start(row, slow, store, wait=False) == []


@pytest.mark.parametrize(
    ("mode", "environment", "chosen"),
    [("auto", {}, "offline"), ("auto", {"WANDB_API_KEY": "x"}, "online"), ("online", {}, "online"),
     ("offline", {"WANDB_API_KEY": "x"}, "offline"),
     ("auto", {"WANDB_API_KEY": "x", "WANDB_MODE": "offline"}, "offline")],
)  # fmt: skip
def test_offline_unless_a_key_is_set(
    mode: Any, environment: dict[str, str], chosen: str, done: tuple[Row, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert track.Wandb(project="p", entity=None, mode=mode, patience=1).chosen_mode() == chosen


def test_a_report_compares_rows(done: tuple[Row, Store], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb")
    store = done[1]
    assert (
        cli.main(["track", "--report", "track=[wandb]", "track.wandb.mode=offline", f"paths.outputs={store.root}"]) == 0
    )
    assert "report-" in capsys.readouterr().out
    records = inspected(store.root / "track" / "wandb")
    assert next(r["run"] for r in records if r["type"] == "run")["run_id"].startswith("report-")
    logged = json.dumps([r for r in records if r["type"] == "history"])
    assert "picture" in logged and "rows" in logged


def test_trackers_are_never_part_of_a_key() -> None:
    from splitpriv.plan import assemble, plan

    plain, tracked = tiny(), tiny("track=[csv]")
    assert plan(plain, assemble(plain)) == plan(tracked, assemble(tracked))
