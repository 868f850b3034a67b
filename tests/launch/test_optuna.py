"""Searches: Optuna proposes points, any launcher runs them, a kill loses none, and hopeless trials end early."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small import DECODER, MONITOR, SMALL

from splitpriv import stop
from splitpriv.commands import cli
from splitpriv.launch import by_optuna, folder, points, task, trials
from splitpriv.run import fit
from splitpriv.store import Store
from splitpriv.types import UserError

pytest.importorskip("optuna")
AIM = "objective=[utility/accuracy,privacy/worst/mse]"
SEARCH = ("hydra/sweeper=optuna", "defense=[noise]", "defense.noise.sigma=tag(log,interval(0.01,1))", AIM,
          "hydra.sweeper.startup=2")  # fmt: skip
BASE = (*SMALL, *DECODER)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sigmas of trials, which take no time: accuracy falls and error rises with sigma; one of 9 fails."""
    sigmas: list[float] = []
    rows: dict[str, dict[str, Any]] = {}

    def work(self: task.Task, cfg: Mapping[str, Any], number: int, planned: None) -> task.Outcome:
        sigma = cfg["defense"]["noise"]["sigma"]
        sigmas.append(sigma)
        if len(sigmas) == 3 and "KILL" in os.environ:
            raise KeyboardInterrupt
        if sigma == 9:
            return {"problems": ["too much"]}
        rows[f"{sigma}"] = {"key": f"{sigma}", "utility/accuracy": 1 - sigma / 2, "privacy/worst/mse": sigma}
        return {"key": f"{sigma}"}

    monkeypatch.setattr(task.Task, "work", work)
    monkeypatch.setattr(Store, "row", lambda self, key: rows.get(key))
    monkeypatch.setattr(points, "prepare", lambda jobs: [points.Point((), (), prepared(job)) for job in jobs])
    return sigmas


def prepared(job: list[str]) -> Any:
    from types import SimpleNamespace

    words = dict(word.split("=", 1) for word in job)
    sigma = float(words.get("defense.noise.sigma", 1))
    cfg = {"defense": {"noise": {"sigma": sigma}}, "objective": AIM.partition("=")[2].strip("[]").split(","),
           "paths": {"outputs": os.environ["SPLITPRIV_OUTPUTS"]}, "monitor": {}, "optim": {"epochs": 4}}  # fmt: skip
    return SimpleNamespace(cfg=cfg, plan=SimpleNamespace(row="row"))


def begin(*words: str) -> int:
    return cli.main(["run", "-m", *SEARCH, *words])


def home() -> Path:
    return folder.find(Path(os.environ["SPLITPRIV_OUTPUTS"]), None)


def test_a_search_that_was_killed_ends_as_one_that_was_not(
    made: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert begin("hydra.sweeper.n_trials=6") == 0
    whole, made[:] = list(made), []
    said = capsys.readouterr()
    assert "maximize utility/accuracy, maximize privacy/worst/mse" in said.err and "front of 6 trials" in said.out
    front = json.loads((home() / folder.FRONT).read_text())
    assert len(front) == 6 and all(p["utility/accuracy"] == 1 - p["privacy/worst/mse"] / 2 for p in front)
    assert begin("hydra.sweeper.n_trials=6") == 0 and not made  # it has its trials
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(tmp_path / "other"))
    with monkeypatch.context() as patch:
        patch.setenv("KILL", "1")
        assert begin("hydra.sweeper.n_trials=6") == 130
    assert begin("hydra.sweeper.n_trials=6") == 0
    assert made == [*whole[:3], *whole[2:]]


def test_a_trial_that_fails_stops_no_search(made: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("defense.noise.sigma=9,0.1", "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=2")
    assert begin(*words) == 2
    assert len(made) == 5 and 9 in made and 0.1 in made
    assert "too much" in capsys.readouterr().err
    assert json.loads((home() / folder.POINTS).read_text())["points"][0]["overrides"][0].startswith("defense=")


def test_what_is_searched(made: list[float]) -> None:
    words = ["a=1,2", "b=int(interval(1,8))", "c=tag(log,interval(0.1,10))", "d=3"]
    space, fixed = by_optuna.space_of(points.read(words))
    assert fixed == ["d=3"] and list(space) == ["a", "b", "c"]
    assert space["c"].log and (space["b"].low, space["b"].high) == (1, 8) and space["a"].choices == ("1", "2")
    assert by_optuna.shown(0.123456) == "0.1235" and by_optuna.shown(3) == "3"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("hydra.sweeper.storage=/nowhere/at/all.log",), "hydra.sweeper.storage: there is no folder"),
        (("hydra.sweeper.storage=nosuch://x",), "hydra.sweeper.storage: "),
        (("hydra.sweeper.storage=redis://x",), "hydra.sweeper.storage: "),
        (("hydra.sweeper.storage=postgresql://nobody@127.0.0.1:9/x",), "hydra.sweeper.storage: "),
        (("hydra.sweeper.storage=/",), "hydra.sweeper.storage: "),
        (("hydra.sweeper.direction=up",), "hydra.sweeper.direction: is 'up'"),
        (("hydra.sweeper.n_trials=0",), "hydra.sweeper.n_trials: "),
        (("hydra.sweeper.prune=true",), "hydra.sweeper.prune: looks at the live leakage"),
        (("defense.noise.sigma=0.1",), "there is nothing to search"),
        (("defense.noise.sigma=tag(log,interval(0,1))",), "defense.noise.sigma: "),
    ],
)
def test_a_search_that_cannot_be(
    words: tuple[str, ...], said: str, made: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert begin("hydra.sweeper.direction=[maximize,maximize]", *words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "more than once" not in line]
    assert len(lines) == 1 and said in lines[0] and not made


def test_a_study_with_other_objectives_is_not_continued(made: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    own = ("hydra.sweeper.study_name=mine", "hydra.sweeper.n_trials=2", "hydra.sweeper.direction=[maximize,maximize]")
    assert begin(*own) == 0 and len(made) == 2
    capsys.readouterr()
    assert begin(*own, "hydra.sweeper.direction=[maximize,minimize]") == 2 and len(made) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "more than once" not in line]
    assert len(said) == 1 and "hydra.sweeper.study_name: mine is to maximize and maximize its objectives" in said[0]


def test_two_commands_do_not_continue_one_study(made: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    def twice(self: task.Task, number: int) -> None:
        assert begin() == 2
        folder.cancel(self.home, "enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task.Task, "run", twice)
        assert begin() == 2
    assert "another process continues the study" in capsys.readouterr().err


def test_a_trial_is_given_up_that_finished_ones_beat() -> None:
    live = trials.counterparts({"monitor": {"x": 1}}, ["utility/accuracy", "privacy/suite/mse"], ["maximize"] * 2)
    assert live == {"accuracy/val": "maximize", "monitor/mse": "maximize"}
    assert trials.counterparts({"monitor": {"x": 1}}, ["privacy/a/psnr"], ["minimize"]) == {"monitor/mse": "maximize"}
    with pytest.raises(UserError, match="training shows nothing of cost/edge"):
        trials.counterparts({}, ["cost/edge"], ["minimize"])
    curves = [{"fit/1": [a, e]} for a, e in ((0.9, 0.02), (0.8, 0.03), (0.7, 0.04), (0.6, 0.05))]
    about = {"live": live, "startup": 4, "from": 2, "curves": curves}
    note = {"phase": "fit", "epoch": 1, "accuracy/val": 0.75, "monitor/mse": 0.01}
    assert trials.hopeless(note, about).startswith("2 of 4 trials were better after epoch 2: accuracy/val 0.75")
    assert not trials.hopeless({**note, "monitor/mse": 0.025}, about)  # better than all that are as accurate but one
    assert not trials.hopeless({**note, "epoch": 0}, about)
    assert not trials.hopeless(note, {**about, "startup": 5})
    one = {
        "live": {"monitor/mse": "maximize"},
        "startup": 4,
        "from": 1,
        "curves": [{"fit/1": [e]} for e in (1, 2, 3, 4)],
    }
    assert trials.hopeless({**note, "monitor/mse": 2.5}, one) and not trials.hopeless({**note, "monitor/mse": 3.5}, one)


def test_training_ends_where_its_watcher_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the point is told as pruned, its stage as neither done nor failed."""
    from splitpriv import config

    cfg = config.compose([*BASE, *MONITOR, "optim.epochs=3"])
    about = {"live": {"monitor/mse": "maximize"}, "startup": 1, "from": 2, "curves": [{"fit/1": [1e9]}]}
    home = tmp_path / "sweep"
    with folder.planned(home, [{"overrides": []}], [cfg]):
        (home / trials.RIVALS).write_text(json.dumps(about))
        task.Task(home, tmp_path).run(0)
    assert trials.was_pruned(home, 0) and folder.key_of(home, 0) == "" and not folder.failure(home, 0)
    store = Store(cfg["paths"]["outputs"])
    [left] = [p for p in (store.root / "fit").iterdir() if p.is_dir()]
    assert store.state("fit", left.name) == "partial" and len(json.loads((left / "curve.json").read_text())) == 2
    assert not stop._watching and fit.SplitFit


@pytest.mark.slow
@pytest.mark.parametrize("aim", ["utility/accuracy", "[utility/accuracy,privacy/worst/mse]"])
def test_optuna_runs_through(aim: str) -> None:
    words = [*BASE, *SEARCH, f"objective={aim}", "hydra.sweeper.n_trials=2"]
    assert cli.main(["run", "-m", *words]) == 0
    assert len(Store(os.environ["SPLITPRIV_OUTPUTS"]).rows()) == 2
    assert cli.main(["run", "-m", *words, "optim.optimizer.weight_decay=1e9"]) == 2
