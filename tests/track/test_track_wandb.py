"""What a W&B server would receive: rows, pieces of resumed runs, sweeps, reports."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import recorded
import yaml
from recorded import OFFLINE, history, received, summary
from small import DECODER, SMALL, tiny

from splitpriv import track
from splitpriv.commands import cli
from splitpriv.store import Row, Store
from splitpriv.track.wandb import Wandb, _drop_unfinished

made, done, no_account = recorded.made, recorded.done, recorded.no_account  # fixtures
pytestmark = pytest.mark.usefixtures("no_account")
ROOT = Path(__file__).parents[2]


def test_wandb_receives_the_whole_row(done: tuple[Row, Store]) -> None:
    pytest.importorskip("wandb")
    row, store = done
    trackers = tiny("track=[wandb]", OFFLINE)["track"]
    assert track.record(row, trackers, store) == []
    [records] = received(store.root / "track/wandb")
    run = next(r["run"] for r in records if r["type"] == "run")
    assert run["run_id"] == row["key"] and run["run_group"].endswith("noise") and "noise" in run["tags"]
    text = json.dumps(run["config"])
    assert '"sigma": 0.025' in text and '"seed": 0' in text
    points = history(records)
    assert [h["_step"] for h in points] == list(range(len(points)))
    assert [h["fit/fit/task"] for h in points if "fit/fit/task" in h] == [n["task"] for n in row["trajectory"]]
    assert [h["attack/decoder/held"] for h in points if "attack/decoder/held" in h] == row["attack/decoder/held"]
    assert all(any(name in json.dumps(h) for h in points) for name in ("reconstructions/decoder", "scores", "flags"))
    told = summary(records)
    assert all(told[key] == row[key] for key in ("privacy/worst/mse", "utility/accuracy", "cost/release_bytes"))
    assert next(r["exit"] for r in records if r["type"] == "exit").get("exit_code", 0) == 0
    table = next((store.root / "track/wandb/wandb").glob("offline-run-*/files/media/table/scores*.json"))
    scores = json.loads(table.read_text())
    assert scores["columns"][:3] == ["attack", "victim", "mse"] and len(scores["data"]) == row["victims"]
    assert track.record(row, trackers, store) == []
    assert len(list((store.root / "track/wandb/wandb").glob("offline-run-*"))) == 1  # a row is recorded once


def test_only_what_was_closed_is_kept_for_a_resumed_run(tmp_path: Path) -> None:
    mark = tmp_path / "k.sent"
    pieces = [tmp_path / f"wandb/offline-run-{i}-{key}/run-{key}.wandb" for i, key in enumerate(("k", "k", "other"))]
    for moment, path in enumerate((pieces[0], mark, pieces[1], pieces[2])):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("7")
        os.utime(path, (moment, moment))
    _drop_unfinished("k", tmp_path)  # the second was never closed: what it held is recorded again
    assert [path.exists() for path in pieces] == [True, False, True]


@pytest.mark.parametrize(
    ("mode", "environment", "chosen"),
    [("auto", {}, "offline"), ("auto", {"WANDB_API_KEY": "x"}, "online"), ("online", {}, "online"),
     ("offline", {"WANDB_API_KEY": "x"}, "offline"),
     ("auto", {"WANDB_API_KEY": "x", "WANDB_MODE": "offline"}, "offline"),
     ("auto", {"WANDB_API_KEY": "x", "WANDB_MODE": "dryrun"}, "offline"), ("auto", {"WANDB_MODE": "online"}, "online"),
     ("auto", {"WANDB_API_KEY": "x", "WANDB_MODE": "disabled"}, "disabled"),
     ("online", {"WANDB_API_KEY": "x", "WANDB_MODE": "disabled"}, "disabled")],
)  # fmt: skip
def test_w_and_b_itself_is_asked_for_its_mode_and_its_key(
    mode: Any, environment: dict[str, str], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_anew(monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracker = Wandb(project="p", entity=None, mode=mode, patience=1)
    assert tracker.chosen_mode() == chosen and tracker.is_off() is (chosen == "disabled")


def test_what_w_and_b_keeps_in_files_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb_setup = asked_anew(monkeypatch)
    tracker = Wandb(project="p", entity=None, mode="auto", patience=1)
    host = wandb_setup.singleton().settings.base_url.partition("//")[2]
    (tmp_path / "netrc").write_text(f"machine {host}\n login user\n password {'a' * 40}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert tracker.chosen_mode() == "online"
    monkeypatch.setattr(wandb_setup, "_singleton", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nmode = disabled\n")  # as `wandb disabled` leaves it
    assert tracker.is_off()


def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Any:
    """W&B reads its environment and files once per process; a tracker has one of its own."""
    wandb_setup = pytest.importorskip("wandb.sdk.wandb_setup")
    monkeypatch.setattr(wandb_setup, "_singleton", None)
    return wandb_setup


def test_where_w_and_b_is_disabled_nothing_is_recorded(
    done: tuple[Row, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    row, store = done
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    assert track.record(row, tiny("track=[wandb]", "track.wandb.mode=online")["track"], store) == []
    assert not list(store.root.glob("track/wandb/*.done")) and not (store.root / "track/wandb/wandb").exists()


class Recorder:
    """What a W&B run is told."""

    starting_step = 0

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def log(self, point: dict[str, Any], **_: Any) -> None:
        self.logged.append(point)


def test_a_study_s_row_and_numbers_that_are_not_finite_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    asked_anew(monkeypatch)
    run, about = Recorder(), {}
    monkeypatch.setattr(Wandb, "open", lambda self, home, run_id, **told: (about.update(told), run)[1])
    row: Row = {"key": "k", "study": "tabular", "way": "lambda 1", "chain": "mid", "seed": 0, "dataset": "people",
                "utility/accuracy": 0.5, "privacy/map/accuracy": math.nan, "flags": []}  # fmt: skip
    tracker = Wandb(project="p", entity=None, mode="online", patience=1)
    tracker.begin("k", row, tmp_path, 0)
    assert about["name"] == "mid lambda 1 seed 0" and about["tags"] == ["mid", "tabular", "people"]
    tracker.add(0, "fit/fit", 0, {"task": math.inf, "lr": 0.1})
    assert run.logged == [{"fit/fit/lr": 0.1, "fit/fit/step": 0}]
    tracker.complete(row, Store(tmp_path))
    assert run.summary["not_finite"] == {"privacy/map/accuracy": "nan"} and run.summary["utility/accuracy"] == 0.5
    assert "privacy/map/accuracy" not in run.summary


def test_only_a_single_run_continues_an_agent_s(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Wandb(project="p", entity=None, mode="auto", patience=1)
    monkeypatch.setenv("WANDB_RUN_ID", "agents")
    assert tracker.run_id("key", alone=True) == "key"
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert tracker.run_id("key", alone=True) == "agents"
    assert tracker.run_id("key", alone=False) == "key"


def test_a_report_compares_rows_on_the_axes_asked_for(
    done: tuple[Row, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    row, store = done
    sound = {"protocol": "strict", "victims": 128, "utility/accuracy": 0.9, "floor/mean_image/mse": 9.0, "flags": []}
    store.add_row({**row, **sound})  # void rows are not compared
    axes = ("--x", "utility/cross_entropy", "--y", "privacy/decoder/ssim", "--by", "defense.noise.sigma")
    command = ["track", "track=[wandb]", OFFLINE, f"paths.outputs={store.root}"]
    assert cli.main([*command, *axes]) == 2
    assert "belong to a report" in capsys.readouterr().err
    assert cli.main([*command, "--report", *axes]) == 2
    assert "--x utility/cross_entropy: is no utility of which more" in capsys.readouterr().err
    axes = ("--x", "utility/accuracy", *axes[2:])
    assert cli.main([*command, "--report", *axes]) == 0
    assert "report-" in capsys.readouterr().out
    [records] = received(store.root / "track/wandb")
    assert next(r["run"] for r in records if r["type"] == "run")["run_id"].startswith("report-")
    assert "picture" in json.dumps(history(records))
    text = json.dumps(records)
    assert '"x": "utility/accuracy"' in text and '"y": "privacy/decoder/ssim"' in text  # the native scatter's fields
    table = next((store.root / "track/wandb/wandb").glob("offline-run-*/files/media/table/rows*.json"))
    told = json.loads(table.read_text())
    line = dict(zip(told["columns"], told["data"][0], strict=True))
    assert line["privacy/decoder/ssim"] == row["privacy/decoder/ssim"] and line["defense.noise.sigma"] == 0.025


@pytest.mark.slow
def test_the_sweep_s_yaml_is_driven_by_w_and_b_s_own_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's agent builds and starts the command; the server alone, which would choose the values, is missing."""
    wandb_agent = pytest.importorskip("wandb.wandb_agent")
    sweep = yaml.safe_load((ROOT / "scripts/wandb_sweep.yaml").read_text())
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, str(tmp_path))  # the agent writes them: put back what was there
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    agent = wandb_agent.Agent(None, None, sweep_id="sweep1")
    place = sweep["command"].index("${args_no_hyphens}")
    demo = (*SMALL, "attack=[decoder]", *DECODER)  # its images and attacks made small
    agent._sweep_command = [*sweep["command"][:place], *demo, *sweep["command"][place:]]
    chosen = {"defense.noise.sigma": {"value": 0.0625}, "seed": {"value": sweep["parameters"]["seed"]["values"][-1]}}
    assert set(chosen) == set(sweep["parameters"])
    agent._command_run({"type": "run", "run_id": "agents", "program": sweep["program"], "args": chosen})
    assert agent._run_processes["agents"].wait(timeout=300) == 0
    store = Store(tmp_path / "outputs")
    [row] = store.rows()
    assert row["defense.noise.sigma"] == 0.0625 and row["seed"] == 2 and row["setting"] == "demo"
    [records] = received(store.root / "track/wandb")
    run = next(r["run"] for r in records if r["type"] == "run")
    assert run["run_id"] == "agents" and run["sweep_id"] == "sweep1"  # the agent's own, where its search looks
    assert summary(records)["privacy/worst/mse"] == row["privacy/worst/mse"]
    assert sweep["metric"]["name"] == "privacy/suite/mse"  # which the demo's own attack, a suite, brings
    assert next(r["exit"] for r in records if r["type"] == "exit").get("exit_code", 0) == 0
