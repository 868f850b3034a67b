"""The measured strength of the suite: tables of the docs follow from committed rows, and bars that rows must keep."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from splitpriv.measure.verdict import verdict
from splitpriv.run.prepare import from_overrides

ROOT = Path(__file__).parents[1]
TOLD = json.loads((ROOT / "results/matrix/calibration.json").read_text())


def script(name: str) -> ModuleType:
    """A script as a module, with its folder to import from, as Python has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return script("matrix_tables")


@pytest.mark.parametrize("page", ["docs/autoinvert.md", "docs/calibration.md"])
def test_the_tables_of_the_docs_are_those_of_the_committed_rows(tables: ModuleType, page: str) -> None:
    text = (ROOT / page).read_text()
    assert "<!-- table: " in text and tables.woven(text) == text


def test_the_tables_of_the_board_s_page_are_those_of_the_committed_site() -> None:
    text = (ROOT / "docs/board.md").read_text()
    assert text.count("<!-- table: ") == 2 and script("board_tables").woven(text) == text


@pytest.mark.slow
def test_the_table_of_claims_is_that_of_the_committed_rows() -> None:
    text = (ROOT / "docs/reproduction.md").read_text()
    assert text.count("<!-- table: ") == 1 and script("claims_page").woven(text) == text


@pytest.mark.parametrize("told", TOLD, ids=lambda r: f"{r['world']} {r['noise']}")
def test_the_suite_is_near_the_best_there_can_be(told: dict[str, float]) -> None:
    if told["world"] == "gaussian":
        assert told["mse"] / told["least"] <= 1.05
    else:
        assert told["least"] / told["mse"] >= 0.9 and told["exact"] / told["mse"] >= 0.9


def test_each_world_is_calibrated_at_three_levels() -> None:
    levels = {world: {r["noise"] for r in TOLD if r["world"] == world} for world in {r["world"] for r in TOLD}}
    assert {"gaussian", "library, tiny"} <= set(levels) and {len(noises) for noises in levels.values()} == {3}


def test_no_single_attack_beats_the_suite(tables: ModuleType) -> None:
    rows = tables.matrix()
    assert rows
    for where, told in rows.items():
        beaten = [name for name in tables.SINGLES if name in told and told[tables.SUITE]["mse"] > told[name]["mse"]]
        assert not beaten, f"{where}: {beaten}"


def test_no_longer_decoder_beats_the_whole_suite(tables: ModuleType) -> None:
    control = "decoder of the suite, 4 times as long"
    played = {where: told for where, told in tables.matrix().items() if tables.entire(told) and control in told}
    assert len(played) >= 5
    beaten = [where for where, told in played.items() if told["autoinvert"]["mse"] > 1.03 * told[control]["mse"]]
    assert not beaten


def test_the_setting_called_sound_has_a_row_that_is() -> None:
    [path] = (ROOT / "results/sound").glob("*.json")
    row = json.loads(path.read_text())
    assert verdict(row) == "sound" and not row["flags"]
    assert row["key"] == from_overrides(["+setting=sound", "defense=[noise]"]).plan.row, "the row of another version"


def plays(**mse: float) -> dict[str, dict[str, float]]:
    costs = {"cheap": 1.0, "dear": 100.0}
    return {name: {"mse": value, "cpu_s": costs.get(name, 10.0)} for name, value in mse.items()}


def test_greedy_takes_what_brings_most_for_its_seconds_and_leaves_what_never_binds(
    tables: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "SINGLES", ("dear", "cheap", "idle"))
    suite = {"floor": 1.0, "members": plays(decoder=0.2, refine=0.1)}
    rows = {("w", "c"): {**plays(cheap=0.5, dear=0.4, idle=0.9), tables.SUITE: suite}}
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables.greedy(rows).splitlines()[2:]]
    assert [(taken, name, binds) for taken, name, *_, binds in lines] == [
        ("1", "cheap", "0"), ("2", "suite: decoder", "0"), ("3", "suite: refine", "1"),
        ("", "dear", "0"), ("", "idle", "0"),
    ]  # fmt: skip
