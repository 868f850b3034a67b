"""`splitpriv sweep`: status, retry, cancel and logs, from another shell and after the first died."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from small import changed, tiny

from splitpriv.commands import cli
from splitpriv.launch import folder, points, sweeping, task
from splitpriv.launch.running import UserError
from splitpriv.run import pipeline
from splitpriv.run.prepare import Prepared, prepare
from splitpriv.store import Store, locks

Row = dict[str, object]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[int, object]:
    """What a run of each seed does instead of computing: raise it, call it, or be done; and which ran, under -1."""
    does: dict[int, object] = {-1: []}

    def execute(prepared: Prepared, store: Store) -> Row:
        seed = prepared.cfg["seed"]
        does[-1].append(seed)  # type: ignore[attr-defined]
        act = does.get(seed)
        if isinstance(act, BaseException):
            raise act
        if callable(act):
            act()
        return {"key": f"row{seed}"}

    monkeypatch.setattr(pipeline, "execute", execute)
    monkeypatch.setattr("splitpriv.report.terminal.print_row", lambda row, store: print(f"made {row['key']}"))
    return does


def begin(*, fast: bool = False) -> int:
    root = Path(os.environ["SPLITPRIV_OUTPUTS"])
    cfgs = [changed(tiny(), "seed", i) for i in range(3)]
    listed = [{"overrides": ["optim.epochs=1", f"seed={i}"]} for i in range(3)]
    names = [f"seed={i}" for i in range(3)]
    return len(sweeping.start(folder.fresh(root), listed, cfgs, (), names=names, fail_fast=fast))


def home() -> Path:
    return folder.find(Path(os.environ["SPLITPRIV_OUTPUTS"]), None)


def test_retry_runs_what_failed_and_nothing_else(runs: dict[int, object], capsys: pytest.CaptureFixture[str]) -> None:
    runs[1] = ZeroDivisionError("ours")
    assert begin()
    capsys.readouterr()
    assert cli.main(["sweep", "status"]) == 0
    said = capsys.readouterr().out
    assert "2 done · 1 failed; nobody works at it" in said and "1 failed  seed=1  ZeroDivisionError: ours" in said
    assert cli.main(["sweep", "logs", home().name[:10], "1"]) == 0
    said = capsys.readouterr().out
    assert "Traceback" in said and "ZeroDivisionError: ours" in said
    assert cli.main(["sweep", "logs"]) == 0
    assert "made row2" in capsys.readouterr().out
    del runs[1]
    assert cli.main(["sweep", "retry", home().name]) == 0
    assert runs[-1] == [0, 1, 2, 1]
    assert "1 failed, 0 left without an end; 2 others stay" in capsys.readouterr().err
    cli.main(["sweep", "status"])
    assert "3 done; nobody" in capsys.readouterr().out and not list(home().glob("*/failed.json"))


def test_what_a_crash_left_of_the_bookkeeping_stops_nobody(
    runs: dict[int, object], capsys: pytest.CaptureFixture[str]
) -> None:
    runs[1] = UserError("no")
    assert begin()
    (home() / "1" / folder.FAILED).write_text("")
    assert cli.main(["sweep", "logs"]) == cli.main(["sweep", "logs", "1"]) == cli.main(["sweep", "status"]) == 0
    assert "failed.json was lost" in capsys.readouterr().out
    for damaged in ("", "[]"):
        (home() / folder.CONFIGS / "1.json").write_text(damaged)
        assert cli.main(["sweep", "retry"]) == 2
        assert "the config of point 1 was lost; repeat its command" in capsys.readouterr().err
    assert runs[-1] == [0, 1, 2]


def test_retry_goes_on_with_a_sweep_that_died(runs: dict[int, object], tmp_path: Path) -> None:
    runs[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        begin()
    del runs[1]
    assert sweeping.open_points(home()) == ([], [1, 2])
    with locks.Lock(home() / folder.LOCK):  # as long as somebody works at it, what waits is theirs
        assert sweeping.open_points(home()) == ([], [])
    assert cli.main(["sweep", "retry"]) == 0
    assert runs[-1] == [0, 1, 1, 2] and sweeping.open_points(home()) == ([], [])


def test_the_first_failure_cancels_the_others_where_that_is_asked(
    runs: dict[int, object], capsys: pytest.CaptureFixture[str]
) -> None:
    runs[0] = UserError("no")
    assert begin(fast=True) == 2 and runs[-1] == [0]
    assert "2 of its points have no end" in sweeping.problems(home(), {0: "0", 1: "1", 2: "2"})[1]
    cli.main(["sweep", "status"])
    assert "cancelled: point 0 failed" in capsys.readouterr().out
    del runs[0]
    assert cli.main(["sweep", "retry"]) == 0 and runs[-1] == [0, 0, 1, 2]


def test_fail_fast_is_asked_of_sweeps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--fail-fast"]) == 2
    assert "--fail-fast: is for sweeps" in capsys.readouterr().err
    told: list[bool] = []
    monkeypatch.setattr(points, "checked", lambda words: ([points.Point((), (), Prepared(tiny(), None, None))], []))
    monkeypatch.setattr(sweeping, "launch", lambda *_, fail_fast: told.append(fail_fast))
    assert cli.main(["run", "-m", "--fail-fast"]) == cli.main(["run", "-m"]) == 0
    assert told == [True, False]


def test_cancel_ends_a_point_wherever_it_runs(
    runs: dict[int, object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.02)

    def work() -> None:
        import time

        assert cli.main(["sweep", "status"]) == cli.main(["sweep", "cancel"]) == 0
        end = time.monotonic() + 5
        while time.monotonic() < end:
            time.sleep(0.005)

    runs[1] = work
    assert begin()
    out = capsys.readouterr()
    assert "1 done · 1 running · 1 waiting" in out.out and "2 points of" in out.out
    assert runs[-1] == [0, 1] and sweeping.open_points(home()) == ([], [1, 2])
    assert cli.main(["sweep", "cancel"]) == 0 and "nobody works at it" in capsys.readouterr().out


def test_a_point_whose_process_is_killed_runs_again_alone_and_stops_no_other(tmp_path: Path) -> None:
    calls: list[list[int]] = []
    points = [{"overrides": [f"seed={i}"]} for i in range(4)]

    def run(numbers: list[int]) -> Exception | None:
        calls.append(numbers)
        for i in numbers:
            (tmp_path / str(i)).mkdir(exist_ok=True)
            if i == 1 or (i == 2 and len(numbers) > 1):
                return MemoryError()
            folder.leave(tmp_path, i, {"key": "k"})
        return None

    with folder.planned(tmp_path, points, [{}] * 4):
        (tmp_path / "2").mkdir()  # it ran beside the one that took the memory
        sweeping.complete(tmp_path, run, range(4))
    assert calls == [[0, 1, 2, 3], [1], [2], [3]]
    said = sweeping.problems(tmp_path, {i: str(i) for i in range(4)})
    assert len(said) == 1 and said[0].startswith("[1] its process was killed twice")


def test_workers_that_differ_are_named(tmp_path: Path) -> None:
    alien = task.Task(tmp_path, tmp_path, "another")
    with pytest.raises(UserError, match=r"^paths\.outputs: .* does not see"):
        alien.run(0)
    assert not list(tmp_path.iterdir())
    with folder.planned(tmp_path, [{"overrides": []}] * 9, [{"seed": 0}] * 9):
        for i in range(9):
            alien.run(i)
    said = sweeping.problems(tmp_path, {i: f"point {i}" for i in range(9)})
    assert len(said) == 1 and "[point 0, and 8 other points] hydra.launcher: " in said[0]
    assert "has another version of splitpriv" in said[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "1999"], "sweep 1999: is none"),
        (["logs", "7"], "point 7 of"),
        (["status", "seed=1"], "takes no seed=1"),
        (["retry", "a", "b"], "too many names"),
    ],
)
def test_a_sweep_that_is_none(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", "status"]) == 2
    assert "sweep: there is none in" in capsys.readouterr().err
    made = Path(os.environ["SPLITPRIV_OUTPUTS"]) / "multirun" / "2026-01-01_00-00-00_1"
    made.mkdir(parents=True)
    assert cli.main(["sweep", *words]) == 2
    line = capsys.readouterr().err
    assert said in line and len(line.splitlines()) == 1
    assert cli.main(["sweep", "retry"]) == 2 and "left no plan" in capsys.readouterr().err


def test_what_a_sweep_leaves_is_plain(runs: dict[int, object]) -> None:
    begin()
    left = json.loads((home() / "0" / folder.DONE).read_text())
    assert left["key"] == "row0" and left["seconds"] >= 0 and left["host"]


def test_finished_points_are_answered_without_their_launcher(
    runs: dict[int, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor is anything composed, or built, for them."""
    cfgs = [changed(tiny(), "seed", i) for i in range(3)]
    plans = [prepare(cfg) for cfg in cfgs]
    monkeypatch.setattr(Store, "row", lambda self, key: {"key": key} if key != plans[1].plan.row else None)
    home = tmp_path / "multirun" / "sweep"
    listed, names = [{"overrides": []}] * 3, ["a", "b", "c"]
    assert not sweeping.start(home, listed, cfgs, (), names=names, plans=plans)
    assert runs[-1] == [1]
    assert [folder.key_of(home, i) for i in range(3)] == [plans[0].plan.row, "row1", plans[2].plan.row]
