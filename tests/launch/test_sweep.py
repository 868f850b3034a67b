"""Sweeps: every point is checked first; one that fails does not stop the others; launchers change no number."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small import DECODER, SMALL, numbers

from splitpriv.commands import cli
from splitpriv.launch import sweeping
from splitpriv.run import pipeline
from splitpriv.run.prepare import Prepared
from splitpriv.store import Store

BASE = (*SMALL, *DECODER)


def rows(root: Path | str | None = None) -> list[dict]:
    return Store(root or os.environ["SPLITPRIV_OUTPUTS"]).rows()


def test_two_seeds_are_two_rows() -> None:
    assert cli.main(["run", "-m", *BASE, "seed=0,1"]) == 0
    assert [row["seed"] for row in rows()] == [0, 1]


def test_a_point_of_a_sweep_is_the_run_itself(tmp_path: Path) -> None:
    assert cli.main(["run", "-m", *BASE, "seed=0,1", f"paths.outputs={tmp_path / 'sweep'}"]) == 0
    assert cli.main(["run", *BASE, "seed=1", f"paths.outputs={tmp_path / 'alone'}"]) == 0
    assert numbers(rows(tmp_path / "sweep")[1]) == numbers(rows(tmp_path / "alone")[0])


def test_lists_are_swept_as_options() -> None:
    assert sweeping.points(["defense=[none],[noise]", "seed=0,1"]) == [
        ["defense=[none]", "seed=0"], ["defense=[none]", "seed=1"],
        ["defense=[noise]", "seed=0"], ["defense=[noise]", "seed=1"],
    ]  # fmt: skip
    assert cli.main(["run", "-m", *BASE, "defense=[none],[noise]"]) == 0
    assert [row["chain"] for row in rows()] == ["none", "noise"]


def test_an_invalid_point_stops_the_sweep_before_it_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "execute", None)
    assert cli.main(["run", "-m", *BASE, "defense=[noise]", "defense.noise.sigma=0.1,-1", "optim.epochs=1,0"]) == 2
    said = capsys.readouterr().err
    assert said.count("defense.noise.sigma: ") == said.count("optim.epochs: ") == 1
    assert not Path(os.environ["SPLITPRIV_OUTPUTS"]).exists()


def test_a_point_that_fails_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "-m", *BASE, "optim.optimizer.lr=1e30,0.05"]) == 2
    said = capsys.readouterr().err
    assert "[" in said
    assert "optim.optimizer.lr=1e+30" in said
    assert "optim.optimizer.lr: " in said
    assert "Traceback" not in said
    assert [row["optim.optimizer.lr"] for row in rows()] == [0.05]


def test_a_bug_in_one_point_is_told_and_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.execute

    def execute(prepared: Prepared, store: Store) -> dict:
        if prepared.cfg["seed"] == 0:
            raise ZeroDivisionError("ours")
        return real(prepared, store)

    monkeypatch.setattr(pipeline, "execute", execute)
    assert cli.main(["run", "-m", *BASE, "seed=0,1"]) == 2
    assert "ZeroDivisionError: ours" in capsys.readouterr().err
    assert [row["seed"] for row in rows()] == [1]


def test_a_repeated_sweep_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["run", "-m", *BASE, "seed=0,1"]) == 0
    monkeypatch.setattr(pipeline, "Run", None)
    assert cli.main(["run", "-m", *BASE, "seed=0,1"]) == 0


def test_a_sweep_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys, "argv", ["pytest", "-x"])
    here = Path.cwd()
    assert cli.main(["run", "-m", *BASE, "seed=0"]) == 0
    assert sys.argv == ["pytest", "-x"]
    assert Path.cwd() == here


def test_outputs_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my runs, (1) = it's"
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(folder))
    assert cli.main(["run", "-m", *BASE, "seed=0,1"]) == 0
    assert len(rows(folder)) == 2


def test_a_sweep_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "-m", "defense=[none"]) == 2
    assert capsys.readouterr().err.startswith("splitpriv: overrides: ")


def test_parallel_processes_give_the_same_rows(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"paths.outputs={tmp_path / 'parallel'}")
    assert cli.main(["run", "-m", *launcher, *BASE, "seed=0,1"]) == 0
    assert cli.main(["run", "-m", *BASE, "seed=0,1", f"paths.outputs={tmp_path / 'serial'}"]) == 0
    parallel = {row["key"]: numbers(row) for row in rows(tmp_path / "parallel")}
    assert parallel == {row["key"]: numbers(row) for row in rows(tmp_path / "serial")}
    assert len(parallel) == 2
