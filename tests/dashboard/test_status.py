"""Work in progress: running, failed, interrupted and waiting are told apart, also after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic
from filelock import FileLock
from small import DECODER, SMALL, tiny

from splitpriv.commands import cli
from splitpriv.dashboard import status
from splitpriv.run import pipeline
from splitpriv.run.prepare import prepare
from splitpriv.store import Store
from splitpriv.tables import cells, launch

HOLD = """
import sys, time, filelock
with filelock.FileLock(sys.argv[1]):
    print(flush=True)
    time.sleep(99)
"""
LATE = "2026-01-02_03-04-06"


def test_status_tells_running_failed_and_interrupted_apart(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path, 1)
    synthetic.trouble(store)
    busy = store.home("fit", "beefbeefbeefbeef")
    busy.mkdir()
    with FileLock(busy.with_name("beefbeefbeefbeef.lock")):
        found = status.status(store)
        assert [r["key"] for r in found["running"]] == ["beefbeefbeefbeef"]
    assert found["stages"]["measure"] == {"done": 2, "running": 0, "failed": 0, "interrupted": 0}
    assert [(f["stage"], f["traceback"]) for f in found["failed"]] == [("attack", synthetic.TRACEBACK)]
    assert [(r["key"], r["epochs"], r["last"]["task"]) for r in found["interrupted"]] == [("cafecafecafecafe", 1, 1.5)]
    assert status.status(store)["running"] == []
    sweep, table = found["sweeps"]
    assert (table["table"], states(table)) == ("some_table", ["done", "not started"])
    assert (sweep["alive"], sweep["command"]) == (False, "splitpriv run -m +setting=demo seed=0,1,2")
    assert states(sweep) == ["interrupted", "failed", "not started"]
    assert sweep["points"][1]["problems"] == synthetic.TRACEBACK.splitlines()
    assert sweep["points"][2]["overrides"] == ["+setting=demo", "seed=2"]


def states(sweep: dict[str, Any]) -> list[str]:
    return [point["state"] for point in sweep["points"]]


def test_a_point_runs_as_long_as_a_process_holds_its_lock(tmp_path: Path) -> None:
    """Whatever the pid in the folder's name: another process may have it by now."""
    home = tmp_path / f"{LATE}_{os.getpid()}"
    for i in range(3):
        (home / str(i)).mkdir(parents=True)
    (home / "points.json").write_text(json.dumps({"points": [{"overrides": []}] * 5}))
    (home / "2" / "done.json").write_text('{"key": "abc"}')
    held = [home / "lock", home / "0" / "lock", home / "2" / "lock"]
    holders = [subprocess.Popen([sys.executable, "-c", HOLD, str(p)], stdout=subprocess.PIPE) for p in held]
    for holder in holders:
        assert holder.stdout is not None and holder.stdout.readline()
    (sweep,) = status.sweeps(tmp_path)
    assert sweep["alive"]
    assert states(sweep) == ["running", "waiting", "done", "waiting", "waiting"]  # the second is just being begun
    for holder in holders:
        holder.kill()
        holder.communicate()
    (sweep,) = status.sweeps(tmp_path)
    assert not sweep["alive"]
    assert states(sweep) == ["interrupted", "interrupted", "done", "not started", "not started"]
    assert sweep["points"][2]["key"] == "abc"


def test_sweeps_that_left_no_plan_are_shown(tmp_path: Path) -> None:
    home = tmp_path / f"{LATE}_7" / "0"
    home.mkdir(parents=True)
    (home / "failed.json").write_text('["[seed=0] too bad"]')
    (sweep,) = status.sweeps(tmp_path)
    assert sweep["points"] == [{"number": 0, "state": "failed", "problems": ["[seed=0] too bad"]}]


def test_a_search_tells_its_front(tmp_path: Path) -> None:
    home = tmp_path / f"{LATE}_1_tune"
    home.mkdir()
    (home / "points.json").write_text(json.dumps({"objective": {"utility/accuracy": "maximize"}, "points": []}))
    assert status.sweep(home)["front"] == []
    trial = {"trial": 0, "key": "abc", "params": {"defense.noise.sigma": "0.1"}, "utility/accuracy": 0.5}
    (home / "front.json").write_text(json.dumps([trial, "broken"]))
    (sweep,) = status.sweeps(tmp_path)
    assert (sweep["front"], sweep["objective"]) == ([trial], {"utility/accuracy": "maximize"})


def test_a_sweep_is_followed_point_by_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(tmp_path))
    seen: list[list[str]] = []

    def execute(*_: Any) -> dict[str, Any]:
        (sweep,) = status.sweeps(tmp_path / "multirun")
        assert sweep["alive"] and sweep["points"][2]["overrides"][-1] == "seed=2"
        seen.append(states(sweep))
        raise KeyboardInterrupt if len(seen) == 2 else ZeroDivisionError

    monkeypatch.setattr(pipeline, "execute", execute)
    assert cli.main(["run", "-m", *SMALL, *DECODER, "seed=0,1,2"]) == 130
    assert seen == [["running", "waiting", "waiting"], ["failed", "running", "waiting"]]
    (sweep,) = status.sweeps(tmp_path / "multirun")
    assert not sweep["alive"] and states(sweep) == ["failed", "interrupted", "not started"]


@pytest.mark.slow
def test_a_parallel_sweep_is_followed_also_beyond_a_kill(tmp_path: Path) -> None:
    """Two points run at once; a SIGKILL of all processes leaves them interrupted, and the third not started."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *SMALL, *DECODER, "optim.epochs=100000", "seed=0,1,2"]
    sweep = subprocess.Popen(
        [sys.executable, "-m", "splitpriv", "run", "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "SPLITPRIV_OUTPUTS": str(tmp_path)}, start_new_session=True,
    )  # fmt: skip
    folder = tmp_path / "multirun"
    try:
        await_(lambda: [states(s) for s in status.sweeps(folder)] == [["running", "running", "waiting"]])
        (found,) = status.sweeps(folder)
        assert found["alive"] and found["points"][2]["overrides"][-1] == "seed=2"
        sweep.kill()  # its workers live on for a while
        sweep.wait()
        assert not status.sweeps(folder)[0]["alive"]
        assert states(status.sweeps(folder)[0])[2] == "not started"
    finally:
        os.killpg(sweep.pid, signal.SIGKILL)
    await_(lambda: states(status.sweeps(folder)[0]) == ["interrupted", "interrupted", "not started"])


def await_(holds: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)


def test_a_table_s_points_are_shown_while_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(tmp_path))
    store = Store(tmp_path)
    todo = [cells.Cell(name, "strict", seed, 0, [*SMALL, *DECODER, f"seed={seed}"], key=f"key{seed}",
                       prepared=prepare(tiny(f"seed={seed}")))
            for seed, name in enumerate(("plain", "noisy", "third"))]  # fmt: skip
    seen: list[list[str]] = []

    def execute(*_: Any) -> dict[str, Any]:
        (sweep,) = status.status(store)["sweeps"]
        seen.append(states(sweep))
        assert (sweep["table"], sweep["scale"], sweep["alive"]) == ("some_table", "smoke", True)
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(pipeline, "execute", execute)
    launch.launch(todo, (), store, "some_table", "smoke")
    assert seen == [
        ["running", "waiting", "waiting"],
        ["failed", "running", "waiting"],
        ["failed", "failed", "running"],
    ]
    (sweep,) = status.sweeps(tmp_path / "multirun")
    assert not sweep["alive"]
    assert [(p["row"], p["play"], p["seed"], p["state"]) for p in sweep["points"]] == [
        ("plain", "strict", 0, "failed"), ("noisy", "strict", 1, "failed"), ("third", "strict", 2, "failed"),
    ]  # fmt: skip
    assert sweep["points"][0]["problems"][-1] == "ZeroDivisionError: ours"
    assert sweep["points"][0]["problems"][0].startswith("Traceback")
