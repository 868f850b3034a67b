"""What trackers write can be read back, grows while a run trains, and none can fail or slow a run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import recorded
from filelock import FileLock
from recorded import OFFLINE, history, received, scalars
from small import DECODER, SMALL, spawn, tiny

from splitpriv import track
from splitpriv.commands import cli
from splitpriv.launch.running import point
from splitpriv.run import parts, pipeline
from splitpriv.run import prepare as prepare_module
from splitpriv.run.prepare import prepare
from splitpriv.run.row import head as head_of
from splitpriv.store import Row, Store
from splitpriv.track import base, wandb
from splitpriv.track.csv import Csv
from splitpriv.track.mlflow import Mlflow
from splitpriv.types import UserError

made, done, no_account = recorded.made, recorded.done, recorded.no_account  # fixtures
pytestmark = pytest.mark.usefixtures("no_account")


def until(true: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def test_csv_and_tensorboard_hold_the_curves(done: tuple[Row, Store]) -> None:
    pytest.importorskip("tensorboard")
    row, store = done
    assert track.record(row, tiny("track=[csv,tensorboard]")["track"], store) == []
    home = store.root / "track"
    lines = list(csv.DictReader((home / "csv" / f"{row['key']}.csv").open()))
    held = [float(line["value"]) for line in lines if (line["curve"], line["name"]) == ("attack/decoder", "held")]
    assert held == row["attack/decoder/held"]
    assert [r["key"] for r in csv.DictReader((home / "csv/rows.csv").open())] == [row["key"]]
    found, tags = scalars(home / "tensorboard" / row["key"], "fit/fit/task")
    assert [value for _, value in found] == pytest.approx([n["task"] for n in row["trajectory"]])
    assert tags["images"] == ["reconstructions/decoder"] and {"privacy/worst/mse"} <= set(tags["scalars"])
    assert {"config", "flags"} <= set(tags["tensors"])


# ---- runs under way ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_run_is_resumed_into_the_same_record(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    pytest.importorskip("tensorboard")
    wanted = ("optim.epochs=60", "track=[wandb,tensorboard,csv]", OFFLINE)
    store = Store(tmp_path / "outputs")
    home = store.root / "track"
    cfg = tiny(*wanted)
    plan = prepare(cfg).plan
    curve = store.home("fit", plan.fits[-1]) / "curve.json"
    marks = {name: home / name / f"{plan.row}.sent" for name in ("wandb", "tensorboard")}
    run = spawn("run", *SMALL, *DECODER, *wanted, outputs=store.root)
    try:
        until(lambda: curve.exists() and len(json.loads(curve.read_text())) >= 3)
        run.send_signal(signal.SIGSTOP)  # in the midst of training, for as long as it takes to look
        until(lambda: marks["tensorboard"].exists() and int(marks["tensorboard"].read_text()) >= 3)
        points, _ = scalars(home / "tensorboard" / plan.row, "fit/fit/task")
        assert len(points) >= 3 and store.row(plan.row) is None and run.poll() is None
    finally:
        run.kill()
        run.communicate()
    until(lambda: marks["wandb"].exists())
    assert 3 <= int(marks["wandb"].read_text()) < 60
    [folder] = (home / "wandb/wandb").glob("offline-run-*")
    shutil.copytree(folder, tmp_path / "killed/wandb" / folder.name)
    assert not (home / "csv").exists() and not store.rows()

    row = point(prepare(cfg))
    pieces = [*received(tmp_path / "killed"), received(home / "wandb")[1]]
    assert next(r["exit"] for r in pieces[0] if r["type"] == "exit")["exit_code"] == 1
    assert {r["run"]["run_id"] for records in pieces for r in records if r["type"] == "run"} == {row["key"]}
    both = [h for records in pieces for h in history(records)]
    assert [h["_step"] for h in both] == list(range(len(both)))
    assert [h["fit/fit/task"] for h in both if "fit/fit/task" in h] == [n["task"] for n in row["trajectory"]]
    assert next(r["exit"] for r in pieces[1] if r["type"] == "exit").get("exit_code", 0) == 0
    points, tags = scalars(home / "tensorboard" / row["key"], "fit/fit/task")
    assert [step for step, _ in points] == list(range(60)) and tags["images"] == ["reconstructions/decoder"]
    assert sorted(p.parent.name for p in home.glob("*/*.done")) == ["csv", "tensorboard", "wandb"]


def test_a_run_that_fails_leaves_a_record_to_be_resumed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    store = Store(tmp_path / "outputs")
    with pytest.raises(UserError, match=r"optim\.optimizer"):
        point(prepare(tiny("optim.optimizer.weight_decay=1e9", "track=[tensorboard,csv]")), wait=False)
    until(lambda: list(store.root.glob("track/tensorboard/*.sent")))
    assert not list(store.root.glob("track/*/*.done")) and not (store.root / "track/csv").exists()


def test_phases_come_in_their_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key, notes in {"a": [{"phase": "fit", "epoch": 0}], "b": [{"phase": "noise", "epoch": 0}]}.items():
        store.home("fit", key).mkdir(parents=True)
        (store.home("fit", key) / "curve.json").write_text(json.dumps(notes))
    head = {"fit": ["a", "b", "c"]}
    assert [n["phase"] for n in base.trajectory(head, store)] == ["fit"]  # more of it may come
    (store.home("fit", "a") / "done").touch()
    assert [n["phase"] for n in base.trajectory(head, store)] == ["fit", "noise"]


def test_what_is_told_at_the_beginning_is_in_the_row(made: tuple[Row, Path]) -> None:
    row, cfg = made[0], tiny("defense=[noise]")
    head = head_of(prepare(cfg))
    assert {**row, **json.loads(json.dumps(head))} == row
    assert base.settings(head) == base.settings(row)
    assert base.settings(row)["defense"]["noise"]["sigma"] == 0.025


def test_a_tracker_s_process_imports_no_torch() -> None:
    modules = ", ".join(f"splitpriv.track.{name}" for name in ("__main__", "csv", "mlflow", "tensorboard", "wandb"))
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_tracker_s_process_imports_nothing_from_the_working_folder(
    done: tuple[Row, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "csv", "torch", "wandb", "filelock", "splitpriv"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the working folder')")
    monkeypatch.chdir(tmp_path)
    row, store = done
    assert track.record(row, tiny("track=[csv]")["track"], store) == []
    assert (store.root / "track" / "csv" / "rows.csv").exists()


def test_rows_of_a_study_are_tracked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    row = {"key": "k", "study": "s", "way": "=w", "chain": "mid", "seed": 0, "flags": [], "utility/r2": 0.5}
    store.add_row(row)
    tracker = Csv(patience=1)
    tracker.begin("k", row, tmp_path, 0)
    tracker.complete(row, store)
    (told,) = csv.DictReader((tmp_path / "rows.csv").open())
    assert told["study"] == "s" and told["way"] == "'=w"


def test_a_tracked_run_is_assembled_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made, real = [], parts.assemble
    for module in (parts, prepare_module):
        monkeypatch.setattr(module, "assemble", lambda cfg: made.append(cfg["seed"]) or real(cfg))
    assert cli.main(["run", *SMALL, *DECODER, "track=[csv]"]) == 0
    assert made == [0]


def test_a_suite_is_a_label_by_which_runs_are_filtered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"key": "k", "chain": "mid", "seed": 0, "flags": [], "privacy/suite/mse": 0.5, "suite": "autoinvert-9 quick"}
    there = Mlflow(experiment="e", uri=None, patience=1)
    there.client, there.id = MagicMock(), "i"
    there.complete(row, Store(tmp_path))
    assert ("i", "suite", "autoinvert-9 quick") in [call.args for call in there.client.set_tag.call_args_list]
    monkeypatch.setattr(wandb, "_wandb", MagicMock())
    here = wandb.Wandb(project="p", entity=None, mode="offline", patience=1)
    here.run, here.count = MagicMock(), 0
    here.complete(row, Store(tmp_path))
    (told,) = here.run.summary.update.call_args.args
    assert told["suite"] == "autoinvert-9 quick" and told["verdict"] == "sound"
    assert base.labels({**row, "suite": None}) == {"verdict": "sound"}


def test_trackers_are_never_part_of_a_key() -> None:
    plain, tracked = tiny(), tiny("track=[csv]")
    assert prepare(plain).plan == prepare(tracked).plan


# ---- what may go wrong ---------------------------------------------------------------------------------------------


def test_a_failing_tracker_fails_no_run(done: tuple[Row, Store], capsys: pytest.CaptureFixture[str]) -> None:
    row, store = done
    (store.root / "track/csv/rows.csv").mkdir(parents=True)  # where a file should be
    said = track.record(row, tiny("track=[csv]")["track"], store)
    assert len(said) == 1 and said[0].startswith("track csv: failed, the run is safe: ") and ".log" in said[0]
    (store.root / "track/tensorboard").touch()
    assert point(prepare(tiny("defense=[noise]", "track=[csv,tensorboard]")))["key"] == row["key"]
    told = capsys.readouterr().err
    assert "track csv: failed, the run is safe" in told and "track tensorboard: did not start, the run is safe" in told


@pytest.fixture
def replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make `import wandb` in a tracker's process execute some code instead."""
    pids = tmp_path / "pids"

    def replace(code: str) -> None:
        (tmp_path / "instead").mkdir()
        note = f"import os, time\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\n"
        (tmp_path / "instead/wandb.py").write_text(note + code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "instead"))

    yield replace
    for pid in pids.read_text().split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_an_absent_wandb_fails_no_run(
    replaced: Callable[[str], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    replaced("raise ImportError('absent')\n")
    row = point(prepare(tiny("track=[wandb]")))
    assert Store(tmp_path / "outputs").row(row["key"]) == row
    assert "pip install 'wandb>=0.19,<1'" in capsys.readouterr().err


def test_a_hanging_wandb_is_left_behind(
    replaced: Callable[[str], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    replaced("time.sleep(300)\n")
    prepared = prepare(tiny("track=[wandb]", "track.wandb.patience=0.5"))
    begun = time.monotonic()
    with track.follow(prepared, Store(tmp_path / "outputs"), wait=True) as said:
        row = pipeline.execute(prepared, Store(tmp_path / "outputs"))
        until(lambda: (tmp_path / "pids").exists())  # it hangs by now
        ended = time.monotonic()
    assert time.monotonic() - ended < 5 and ended - begun < 120
    assert len(said) == 1 and "goes on in the background" in said[0]
    assert Store(tmp_path / "outputs").row(row["key"]) == row


def test_a_run_that_two_processes_make_is_recorded_by_one(done: tuple[Row, Store]) -> None:
    row, store = done
    trackers = {"csv": {**tiny("track=[csv]")["track"]["csv"], "patience": 3}}
    home = store.root / "track/csv"
    home.mkdir(parents=True)
    with FileLock(home / f"{row['key']}.lock"):
        assert "still at work" in track.record(row, trackers, store)[0]
        assert not (home / "rows.csv").exists()
    until(lambda: (home / f"{row['key']}.done").exists())


@pytest.mark.parametrize("run_id", [None, "a/b", "raises"])
def test_a_tracker_that_has_no_name_for_a_run_is_told_and_the_run_is_safe(
    run_id: str | None, done: tuple[Row, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(self: Csv, key: str, alone: bool) -> Any:
        if run_id == "raises":
            raise ValueError("its run_id has no server")
        return run_id

    monkeypatch.setattr(Csv, "run_id", named)
    row, store = done
    [said] = track.record(row, tiny("track=[csv]")["track"], store)
    assert said.startswith("track csv: did not start, the run is safe: its run_id ")
