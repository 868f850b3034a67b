"""Sweeps: every point is checked first; one that fails does not stop the others; launchers change no number."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small import DECODER, SMALL, numbers

from splitpriv.commands import cli
from splitpriv.dashboard.status import sweeps
from splitpriv.launch import points
from splitpriv.run import aims, pipeline
from splitpriv.run.prepare import Prepared, from_overrides
from splitpriv.store import Store
from splitpriv.types import UserError

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
    assert points.expand(["defense=[none],[noise]", "seed=0,1"]) == [
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
    assert cli.main(["run", "-m", *BASE, "optim.optimizer.weight_decay=1e9,0"]) == 2
    said = capsys.readouterr().err
    assert "[" in said
    assert "optim.optimizer.weight_decay=1000000000.0" in said
    assert "optim.optimizer.lr: " in said
    assert "Traceback" not in said
    assert [row["optim.optimizer.weight_decay"] for row in rows()] == [0]


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
    assert capsys.readouterr().err.startswith("splitpriv: defense: the brackets of [none are not closed")


@pytest.mark.parametrize("sweeper", [(), ("-m",), ("-m", "hydra/sweeper=optuna", "objective=utility/accuracy")])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("range(0,0)", "holds no value"), ("range(5,1)", "holds no value"), ("range(0,5,0)", "is no range"),
        ("range(0.,1.,0.)", "is no range"), ("range(nan,1)", "is no range"), ("range(0,1e400)", "more than 100,000"),
    ],
)  # fmt: skip
def test_a_range_that_leads_nowhere(
    values: str, said: str, sweeper: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", *sweeper, f"seed={values}"]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"splitpriv: seed: {values} ") and said in line and len(line.splitlines()) == 1


@pytest.mark.slow  # `make faults` kills such sweeps and compares their rows, too
def test_parallel_processes_give_the_same_rows(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"paths.outputs={tmp_path / 'parallel'}")
    assert cli.main(["run", "-m", *launcher, *BASE, "seed=0,1"]) == 0
    assert cli.main(["run", "-m", *BASE, "seed=0,1", f"paths.outputs={tmp_path / 'serial'}"]) == 0
    parallel = {row["key"]: numbers(row) for row in rows(tmp_path / "parallel")}
    assert parallel == {row["key"]: numbers(row) for row in rows(tmp_path / "serial")}
    assert len(parallel) == 2


COUNTED = """
import os, time
from pathlib import Path
import torch

HERE = Path(__file__).parent
(HERE / f"{os.getpid()}.pid").touch()


class Counted(torch.optim.SGD):
    steps = 0

    def __init__(self, params, *, lr, momentum, weight_decay, nesterov):
        super().__init__(params, lr, momentum, 0, weight_decay, nesterov)

    def step(self, closure=None):
        if self.steps == 1:  # of a training; the check before it takes one
            with (HERE / "trained").open("a") as file:
                file.write(f"{os.getpid()}\\n")
            end = time.monotonic() + 30  # as long as the other worker needs to come and ask for the same
            while len(list(HERE.glob("*.pid"))) < 3 and time.monotonic() < end:
                time.sleep(0.1)
            time.sleep(2)
        self.steps += 1
        return super().step(closure)
"""


@pytest.mark.slow
def test_two_workers_who_need_one_undefended_twin_train_it_once(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (tmp_path / "counted").mkdir()
    (tmp_path / "counted" / "__init__.py").write_text(COUNTED)
    words = (f"plugins=[{tmp_path / 'counted'}]", "optim.optimizer._target_=counted.Counted", "defense=[none]",
             "attack_seed=0,1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")  # fmt: skip
    assert cli.main(["run", "-m", *BASE, *words]) == 0
    assert len(rows()) == 3
    assert len(list((tmp_path / "counted").glob("*.pid"))) == 3  # this process and two workers
    assert len((tmp_path / "counted" / "trained").read_text().splitlines()) == 1


FOLDERS = ("hydra.sweep.subdir=a/${hydra.job.num}", "hydra.job.chdir=true", "hydra.output_subdir=.hydra")


def test_points_are_found_wherever_hydra_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = (f"hydra.sweep.dir={tmp_path / 'mine'}", *FOLDERS, "paths.outputs=here")
    assert cli.main(["run", "-m", *BASE, *words, "optim.optimizer.weight_decay=1e9,0"]) == 2
    assert "weight_decay=1000000000.0] optim.optimizer.lr: " in capsys.readouterr().err
    assert [row["optim.optimizer.weight_decay"] for row in rows(tmp_path / "here")] == [0]
    assert (tmp_path / "mine" / "a" / "1" / ".hydra").is_dir() and not list((tmp_path / "mine").rglob("rows"))
    [sweep] = sweeps(tmp_path / "here" / "multirun")
    assert [point["state"] for point in sweep["points"]] == ["failed", "done"]


def test_settings_of_a_part_that_a_point_lacks_are_left_out() -> None:
    chains = ["defense=[none],[noise],[none]", "defense.noise.sigma=0.1,0.2", "decoder@attack.decoder.net=conv"]
    jobs, notes = points.settle(points.expand(chains))
    net = "decoder@attack.decoder.net=conv"
    assert jobs == [
        ["defense=[none]", net],
        *(["defense=[noise]", f"defense.noise.sigma={s}", net] for s in (0.1, 0.2)),
    ]
    assert "defense.noise.sigma: left out of 4 of 6 points" in notes[0] and "6 points are 3 different" in notes[1]


def test_a_point_is_named_where_nothing_could_take_its_setting() -> None:
    with pytest.raises(UserError, match=r"^defense\.noise\.sigma: the chain has no noise; .*defense=\[noise\]"):
        points.checked(["defense=[none],[dropout]", "defense.noise.sigma=0.1"])
    with pytest.raises(UserError, match=r"\[defense=\[noise\] defense\.noise\.sigma=-1\]$"):
        points.checked(["defense=[none],[noise]", "defense.noise.sigma=-1"])


def test_check_previews_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*BASE, "defense=[none],[noise]", "defense.noise.sigma=0.1"]
    assert cli.main(["run", *BASE]) == 0
    capsys.readouterr()
    assert cli.main(["check", "-m", *words]) == 0
    said = capsys.readouterr().out
    assert "2 points: 1 cached, 1 to run; to make: 1 x fit, 2 x measure, 1 x attack" in said
    assert "cost: 2 epochs of training, 2 epochs of attacks at most" in said
    assert len(rows()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("hydra/sweeper=nevergrad",),
            "hydra/sweeper=nevergrad: is not installed; pip install 'hydra-nevergrad-sweeper'",
        ),
        (("hydra/launcher=rq", "seed=0,1"), "hydra/launcher=rq: is not installed; pip install 'hydra-rq-launcher'"),
        (("hydra/launcher=cluster", "seed=0,1"), "hydra/launcher=cluster: there is no such plug-in"),
        (("hydra.launcher.jobs=2", "seed=0,1"), "hydra: "),
        (("hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "seed=0,1"), "hydra.launcher: n_jobs == 0"),
        (("seed=interval(0,1)",), "pip install 'splitpriv[optuna]'"),
        (("--seed=1",), "write seed=1"),
    ],
)
def test_what_hydra_lacks_is_named(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "-m", *BASE, "objective=utility/accuracy", *words]) == 2
    line = capsys.readouterr().err
    assert said in line and len(line.splitlines()) == 1


OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "defense=[noise]",
          "defense.noise.sigma=interval(0.01,0.1)")  # fmt: skip


def test_a_sweeper_is_told_what_to_optimise(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "-m", *BASE, *OPTUNA]) == 2
    assert "objective: has no value" in capsys.readouterr().err
    row = {"utility/accuracy": 0.5, "privacy/worst/mse": 1, "chain": "x"}
    assert aims.values(None, row) is None and aims.values("utility/accuracy", row) == 0.5
    assert aims.values(["utility/accuracy", "privacy/worst/mse"], row) == (0.5, 1.0)
    assert aims.directions(["utility/accuracy", "privacy/worst/psnr"]) == ["maximize", "minimize"]
    with pytest.raises(UserError, match="no number 'chain'; it has utility/accuracy"):
        aims.values("chain", row)


def test_an_objective_is_part_of_no_key() -> None:
    assert from_overrides(["objective=utility/accuracy"]).plan == from_overrides([]).plan
