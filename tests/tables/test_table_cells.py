"""A table's cells as runs: what they are made of, how far they have come, completing them, what that will cost."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small import DECODER, SMALL

from splitpriv.commands import cli as commands
from splitpriv.config import CONF
from splitpriv.options import called
from splitpriv.run import stages
from splitpriv.run.context import Run
from splitpriv.store import Store, proof
from splitpriv.tables import cells, cli, estimate, launch, shipped, spec, timer
from splitpriv.tables.cells import Cell, Extra
from splitpriv.types import UserError

TABLE = {
    "title": "T", "source": "S",
    "plays": {"one": {"attacks": ["decoder", "not_written"]},
              "two": {"overrides": ["protocol.seed=1"], "attacks": ["nor_this"]}},
    "rows": {"plain": ["defense=[none]"], "noisy": ["defense=[noise]", "defense.noise.sigma=0.5"],
             "future": ["defense=[not_written]"], "wrong": ["defense=[noise]", "defense.noise.sigma=-1"],
             "apart": {"absent": "cannot be a run"}},
    "columns": {"mse": {"label": "MSE", "play": "one", "key": "privacy/decoder/mse"}},
    "claims": [{"text": "noise helps", "more": "noisy", "than": "plain"}],
    "scales": {"smoke": {"base": list(SMALL),
                         "overrides": [*DECODER, "attack.not_written.epochs=3", "defense.cem.weight=3"],
                         "seeds": [0, 1], "plays": ["one"]},
               "full": {"seeds": [0]}},
}  # fmt: skip


@pytest.fixture
def table() -> spec.Table:
    return spec.Table.model_validate({**TABLE, "rows": {k: spec._short(v) for k, v in TABLE["rows"].items()}})  # type: ignore[attr-defined]


def store() -> Store:
    return Store(os.environ["SPLITPRIV_OUTPUTS"])


def looked_at(table: spec.Table, *words: str, rows: tuple[str, ...] = ()) -> list[Cell]:
    listed = cells.expand(table, "smoke", Extra.of(words), rows)
    cells.inspect(listed, store())
    return listed


def test_overrides_of_a_cell(table: spec.Table) -> None:
    listed = cells.expand(table, "smoke", Extra.of(["measure.draws=3", "seed=4,5"]))
    noisy = [cell for cell in listed if cell.row == "noisy"]
    assert [cell.seed for cell in noisy] == [4, 5] and {cell.play for cell in listed} == {"one"}
    words = noisy[0].overrides
    assert words[-2:] == ["seed=4", "attack_seed=0"] and "defense.noise.sigma=0.5" in words
    assert "attack=[decoder]" in words  # the attack that does not exist is left out, with its settings
    assert not any("not_written" in word or "cem" in word for word in words)
    assert [w for w in words if w.startswith("measure.draws=")] == ["measure.draws=3"]  # the last one counts


def test_the_later_of_two_overrides_counts() -> None:
    assert cells._last(["a=1", "b=2", "a=3"]) == ["b=2", "a=3"]


def test_a_scale_that_replaces_an_option_drops_what_the_row_said_inside_it() -> None:
    line = spec.Line(overrides=["dataset=mnist", "dataset.size=28", "split.bottleneck=null"])
    size = spec.Size(overrides=["dataset=fashion_tint", "split=bottleneck"], seeds=[0])
    words, problems = cells._overrides(line, spec.Play(), size, [], [])
    assert words == ["split.bottleneck=null", "dataset=fashion_tint", "split=bottleneck"] and not problems


@pytest.mark.parametrize(
    ("word", "applies"),
    [("attack.rmle.steps=1", True), ("attack.decoder.epochs=1", False), ("decoder@attack.decoder.net=conv", False),
     ("decoder@attack.rmle.net=conv", True), ("defense.cem.weight=1", True), ("~defense.noise.sigma", False),
     ("optim.epochs=1", True), ("split=raw", True)],
)  # fmt: skip
def test_settings_are_for_those_who_list_them(word: str, applies: bool) -> None:
    assert cells._applies(word, {"attack": {"rmle"}, "defense": {"cem"}}) == applies


def test_variants_put_their_settings_under_the_name_of_their_base() -> None:
    assert called(CONF, "defense", "cem_paper") == ("cem",)
    assert called(CONF, "defense", "none") == () and called(CONF, "attack", "rmle_avg") == ("rmle_avg",)


def test_states_and_reasons(table: spec.Table) -> None:
    found = {cell.row: cell for cell in looked_at(table, "seed=0")}
    assert (found["plain"].state, found["noisy"].state) == ("missing", "missing")
    assert found["plain"].key and found["plain"].key != found["noisy"].key
    assert (found["future"].state, found["future"].problems) == (
        "unsupported",
        ["defense not_written is not in this repository yet"],
    )
    assert found["apart"].state == "unsupported" and found["apart"].problems == ["cannot be a run"]
    assert found["wrong"].state == "refused" and "defense.noise.sigma" in found["wrong"].problems[0]


def test_a_play_without_any_attack_says_so(table: spec.Table) -> None:
    two = [cell for cell in cells.expand(table, "full", Extra()) if cell.play == "two"]
    assert all(cell.state == "unsupported" for cell in two) and "attack nor_this" in two[0].problems[0]


def test_bad_words(table: spec.Table) -> None:
    with pytest.raises(UserError, match="seed: 'x' is not a list"):
        Extra.of(["seed=x"])
    with pytest.raises(UserError, match=r"--rows plane: .*did you mean plain"):
        cells.expand(table, "smoke", Extra(), ["plane"])
    with pytest.raises(UserError, match="no such scale"):
        cells.expand(table, "lite", Extra())
    assert Extra.of(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "optim.epochs=1"]).hydra == (
        "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")  # fmt: skip


def test_one_mistake_of_the_command_is_said_once(table: spec.Table) -> None:
    (cell,) = looked_at(table, "nosuch=1", "seed=0", rows=("plain",))
    assert cell.state == "refused" and len(cell.problems) == 1 and cell.problems[0].startswith("nosuch: ")
    with pytest.raises(UserError) as error:
        Extra.of(["nosuch=1"]).require_sense([cell, dataclasses.replace(cell, row="noisy")])
    assert error.value.problems == cell.problems
    taken = dataclasses.replace(cell, state="missing", problems=[])  # some rows have it, others do not
    Extra.of(["nosuch=1"]).require_sense([cell, taken])
    Extra.of(["seed=0"]).require_sense([cell])  # the row's own mistake


def test_a_row_of_another_scale_is_not_an_empty_table(table: spec.Table) -> None:
    sized = table.model_copy(update={"scales": {**table.scales, "smoke": table.sized("smoke").model_copy(
        update={"rows": ["plain", "no*"]})}})  # fmt: skip
    assert {cell.row for cell in cells.expand(sized, "smoke", Extra.of([]), ["pl*"])} == {"plain"}
    with pytest.raises(UserError, match="--rows future: is not part of scale smoke; there are plain, noisy"):
        cells.expand(sized, "smoke", Extra.of([]), ["future"])


def test_a_run_completes_what_is_missing_and_can_be_repeated(
    table: spec.Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    todo = looked_at(table, "seed=0", rows=("plain", "noisy"))
    with monkeypatch.context() as patch:  # the first row's attack breaks; the other row goes on
        whole = stages.attack

        def broken(run: Run, name: str, home: Path) -> None:
            if not run.cfg["defense"]:
                raise RuntimeError("out of luck")
            whole(run, name, home)

        patch.setattr(stages, "attack", broken)
        problems = launch.launch(todo, (), store(), "t", "smoke")
    assert len(problems) == 1 and problems[0].startswith("plain (one, seed 0): RuntimeError: out of luck; whole in ")
    again = looked_at(table, "seed=0", rows=("plain", "noisy"))
    assert [cell.state for cell in again] == ["failed", "cached"]
    assert "RuntimeError: out of luck" in again[0].problems[0]  # its traceback is kept
    assert [stage.kind for stage in again[0].stages] == ["attack", "measure"]  # the fit is not lost
    (kept,) = json.loads((store().root / cells.FAILED / f"{again[0].key}.json").read_text())
    assert kept.startswith("Traceback") and "in broken" in kept
    assert not launch.launch([again[0]], (), store(), "t", "smoke")
    last = looked_at(table, "seed=0", rows=("plain", "noisy"))
    assert [cell.state for cell in last] == ["cached", "cached"] and not last[0].problems
    found = cells.rows_of(last, store())
    row = found["noisy", "one"][0, 0]
    assert row["key"] == last[1].key and row["ceiling"] == last[0].key and "ceiling/decoder/mse" in row
    capsys.readouterr()


def test_a_store_with_half_a_run_is_partial(table: spec.Table) -> None:
    (cell,) = looked_at(table, "seed=0", rows=("plain",))
    home = store().home(cell.stages[0].kind, cell.stages[0].key)
    home.mkdir(parents=True)
    (home / "last.pt").write_text("")
    assert looked_at(table, "seed=0", rows=("plain",))[0].state == "partial"


def test_what_a_crash_left_of_the_bookkeeping_stops_no_plan(table: spec.Table) -> None:
    (cell,) = looked_at(table, "seed=0", rows=("plain",))
    for name in (f"{cells.FAILED}/{cell.key}.json", timer.TIMES):
        (store().root / name).parent.mkdir(parents=True, exist_ok=True)
        (store().root / name).write_text("")
    (again,) = looked_at(table, "seed=0", rows=("plain",))
    assert (again.state, again.problems) == ("failed", ["what it ended in was lost"])
    assert not estimate.Timer(store()).known


def test_a_wrong_launcher_is_a_users_mistake(table: spec.Table) -> None:
    with pytest.raises(UserError, match="hydra/launcher=nowhere: "):
        launch.launch(looked_at(table, "seed=0", rows=("plain",)), ("hydra/launcher=nowhere",), store(), "t", "smoke")
    assert not list(store().root.glob("multirun/*"))  # nothing was begun


# ---- costs ---------------------------------------------------------------------------------------------------------


def test_costs_add_up_over_distinct_stages(table: spec.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = looked_at(table, rows=("plain", "noisy"))
    monkeypatch.setattr(estimate, "_fit_rate", lambda cfg: 0.01)
    monkeypatch.setattr(estimate, "_attack_rates", lambda cfg, name: {"": 1.0, "epochs": 0.5})
    said: list[str] = []
    rows, total, unknown = estimate.estimate(listed, estimate.Timer(store(), said.append), store())
    fit = 0.01 * 64 * 2  # images, epochs
    attack = 48 / estimate.AUX * (1.0 + 0.5)  # one epoch and one more
    assert total == pytest.approx(4 * (fit + attack)) and unknown == 0
    assert rows["plain", "one"] == pytest.approx(2 * (fit + attack))
    assert len([text for text in said if "training steps" in text]) == 2  # once per chain, not per seed
    said.clear()
    assert estimate.estimate(listed, estimate.Timer(store(), said.append), store())[1] == total and not said  # recorded
    assert estimate.estimate([listed[0], listed[0]], estimate.Timer(store()), store())[1] == pytest.approx(fit + attack)


def _broken(*args: Any) -> float:
    raise UserError("dataset: not here")


def test_what_cannot_be_timed_is_left_out_and_said(table: spec.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_fit_rate", _broken)
    monkeypatch.setattr(estimate, "_attack_rates", lambda cfg, name: {"": 1.0, "epochs": 0.5})
    said: list[str] = []
    rows, _, unknown = estimate.estimate(
        looked_at(table, "seed=0", rows=("plain",)), estimate.Timer(store(), said.append), store()
    )
    assert rows["plain", "one"] is None and unknown == 1 and any("not here" in text for text in said)


def test_a_plan_takes_seconds_and_what_it_does_not_time_counts_as_its_like(
    table: spec.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[Any] = []
    monkeypatch.setattr(estimate, "_fit_rate", lambda cfg: timed.append(list(cfg["defense"])) or 0.01)
    monkeypatch.setattr(estimate, "_attack_rates", lambda cfg, name: {"": 1.0, "epochs": 0.5})
    over = estimate.Timer(store(), lambda text: None, seconds=0)
    rows, _, unknown = estimate.estimate(looked_at(table, "seed=0", rows=("plain", "noisy")), over, store())
    assert len(timed) == 1 and unknown == 0 and rows["plain", "one"] == rows["noisy", "one"]
    said: list[str] = []
    again = timer.Timer(store(), said.append)
    monkeypatch.setattr(timer, "FIRST", 0.05)
    again.left = 0.05
    for _ in range(2):
        assert again.get("what never ends", _endless, work="endless") is None
    assert said == ["timing what never ends", "cannot time what never ends: takes longer than a plan may"]


def test_what_is_finished_tells_what_its_like_will_take(table: spec.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, later = (looked_at(table, f"seed={seed}", rows=("plain",))[0] for seed in (0, 1))
    assert plain.prepared is not None
    plan, took = plain.prepared.plan, {"device": "cpu", "threads": 2, "wall_s": 90.0}
    done = {("fit", plan.fits[-1]): 64.0, ("attack", *plan.attacks.values()): 20.0}
    for (kind, key), seconds in done.items():
        home = store().home(kind, key)
        home.mkdir(parents=True)
        (home / "done").write_text(proof.record(home, {**took, "cpu_s": seconds}))
    monkeypatch.setattr(estimate, "_fit_rate", _broken)
    monkeypatch.setattr(estimate, "_attack_rates", _broken)
    _, total, unknown = estimate.estimate([later], estimate.Timer(store(), lambda text: None), store())
    assert unknown == 1  # nobody told it of the first
    plain.state = "cached"
    _, total, unknown = estimate.estimate([plain, later], estimate.Timer(store(), lambda text: None), store())
    assert total == pytest.approx(32 + 10) and unknown == 0  # processor seconds of two threads, whatever the wall said


def test_a_suite_is_not_timed_for_it_goes_on_to_its_plateau(table: spec.Table) -> None:
    (cell,) = looked_at(table, "seed=0", rows=("plain",))
    assert cell.prepared is not None
    said: list[str] = []
    suite: Any = SimpleNamespace(suite="autoinvert-2")
    clock = estimate.Timer(store(), said.append)
    for _ in range(2):
        assert estimate._attack_seconds(cell.prepared.cfg, "decoder", suite, None, clock) is None
    assert len(said) == 1 and said[0].startswith("cannot time decoder: a suite goes on to its plateau")


def _endless() -> None:
    while True:
        pass


def test_real_steps_are_timed(table: spec.Table) -> None:
    (cell,) = looked_at(table, "seed=0", rows=("plain",))
    rows, total, unknown = estimate.estimate([cell], estimate.Timer(store(), lambda text: None), store())
    assert unknown == 0 and 0 < total < 60 and rows["plain", "one"] == total


def test_lengths_of_an_attack_are_found_wherever_they_are() -> None:
    node = {"epochs": 3, "lr": 1, "base": {"steps": 5, "net": {"blocks": 2}}}
    assert estimate._lengths(node) == {"epochs": 3, "base.steps": 5}
    assert estimate._with_lengths(node, {"epochs": 1, "base.steps": 1})["base"]["steps"] == 1 and node["epochs"] == 3


@pytest.mark.parametrize(("seconds", "text"), [(None, "unknown"), (5.4, "5 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_in_words(seconds: float | None, text: str) -> None:
    assert estimate.spoken(seconds) == text


# ---- the command ---------------------------------------------------------------------------------------------------


def call(*words: str) -> int:
    top = argparse.ArgumentParser()
    cli.add(top.add_subparsers())
    args, rest = top.parse_known_args(["table", *words])
    args.overrides += rest
    try:
        return cli.table(args)
    except UserError as error:
        return commands.complain(error.problems)


def test_list_plan_show_and_diff(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("list") == 0 and "cem_table1" in capsys.readouterr().out
    few = ("ressfl", "--rows", "baseline")
    assert call("plan", *few, "--no-estimate") == 0
    assert "1 cells: 0 cached, 1 to run" in capsys.readouterr().out
    assert call("show", *few, "--format", "markdown", "--out", str(tmp_path / "new" / "t.md")) == 0
    assert "missing" in (tmp_path / "new" / "t.md").read_text()
    assert call("diff", *few) == 0 and "no data" in capsys.readouterr().out


def test_the_commands_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("show") == 2 and "name a table" in capsys.readouterr().err
    assert call("show", "cem_tabel1") == 2 and "did you mean cem_table1" in capsys.readouterr().err
    assert call("show", "paths.outputs=/tmp") == 2 and "name a table" in capsys.readouterr().err
    assert call("plan", "ressfl", "--rows", "nobody") == 2 and "no row is called so" in capsys.readouterr().err


SHIPPED = [(name, scale) for name in shipped.names() for scale in shipped.load(name).scales]


def sound(name: str, scale: spec.Scale, few: bool) -> None:
    """Every row that exists composes and is accepted; at most the data, or an optional library, may be missing."""
    table = shipped.load(name)
    listed = [cell for cell in cells.expand(table, scale, Extra.of(["seed=0"])) if cell.state == "missing"]
    if few:
        listed = listed[-1:]
    cells.inspect(listed, store())
    for cell in listed:
        outside = all(any(w in p for w in ("dataset.", "paths.", "not installed")) for p in cell.problems)
        assert cell.state == "missing" or (cell.state == "refused" and outside), f"{cell.row}: {cell.problems}"


@pytest.mark.parametrize("name", shipped.names())
def test_a_row_of_every_table_is_a_run(name: str) -> None:
    sound(name, "smoke", few=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_every_row_of_every_table_is_a_run(name: str, scale: spec.Scale) -> None:
    sound(name, scale, few=False)


def test_tables_live_where_the_wheel_takes_them() -> None:
    assert (CONF / shipped.FOLDER).is_dir()
