"""The tabular command: rows, intervals, cache, mistakes."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from splitpriv import config, metrics, targets
from splitpriv.commands import cli
from splitpriv.dashboard import build
from splitpriv.report.terminal import attacks_of, with_ceilings
from splitpriv.store import Row, Store
from splitpriv.studies import STUDIES, base
from splitpriv.studies.tabular.data import load
from splitpriv.studies.tabular.experiment import Experiment, interval
from splitpriv.tables import cells, shipped
from splitpriv.tables.results import gather
from splitpriv.types import UserError

ROOT = Path(__file__).parents[2]
OPTIONS = sorted(p.stem for p in (config.CONF / "tabular").glob("*.yaml"))
QUICK = ("tabular.splits=3", "tabular.lambdas=[0.0,30.0]", "tabular.answers=2")


def main(words: Sequence[str]) -> list[Row]:
    return base.run("tabular", words)


def rows() -> list[Path]:
    return sorted((Path(os.environ["SPLITPRIV_OUTPUTS"]) / "rows").glob("*.json"))


@pytest.mark.parametrize("option", OPTIONS)
def test_lambda_lowers_information_utility_and_attacks(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    none, much = main([option, *QUICK])
    text = capsys.readouterr().out
    assert "(reconstructed)" in text and "±" in text and "commonest value" in text
    assert much["information/answer_nats"] < 0.1 * none["information/answer_nats"]
    assert none["privacy/from_truth/accuracy"] > none["floor/prior/accuracy"] + 0.03
    assert set(attacks_of(none)) == {"from_truth", "from_answer"} | ({"from_counts"} if option == "tree" else set())
    for name in attacks_of(none):
        key = f"privacy/{name}/accuracy"
        assert much[key] == pytest.approx(much["floor/prior/accuracy"], abs=0.05) and much[key] < none[key]
    assert len(none["values/privacy/from_truth/accuracy"]) == 3
    assert none["method"] == {"linear": "MID-LR", "tree": "MID-tree"}[option] + " (reconstructed)"
    for row in (none, much):
        assert row["utility/mse" if option == "linear" else "utility/accuracy"] == pytest.approx(
            np.mean(row["values/utility/mse" if option == "linear" else "values/utility/accuracy"])
        )
        assert all(math.isfinite(v) for v in row.values() if isinstance(v, float))


@pytest.mark.parametrize("option", OPTIONS)
def test_the_shipped_settings_are_the_signature_and_enough_splits(option: str) -> None:
    node = config.compose([f"+tabular={option}"])["tabular"]
    assert set(node) - {"_target_"} == set(targets.settings(Experiment))
    assert set(node["model"]) - {"_target_"} == set(
        targets.settings(targets.locate(node["model"]["_target_"], "model"))
    )
    assert node["splits"] >= 10


def test_rows_are_written_once_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = main(["linear", *QUICK])
    assert [json.loads(p.read_text())["key"] for p in rows()] == sorted(r["key"] for r in first)
    assert [(r["chain"], r["ceiling"]) for r in first] == [("none", first[0]["key"]), ("mid", first[0]["key"])]
    monkeypatch.setattr(Experiment, "at", None)
    assert main(["linear", *QUICK]) == first
    with pytest.raises(TypeError):
        main(["linear", *QUICK, "tabular.seed=1"])


def test_splits_are_paired_over_lambda_and_repeat() -> None:
    a, b = (main(["linear", *QUICK, "tabular.lambdas=[0.0]", f"tabular.model.noise={s}"])[0] for s in (0.5, 0.9))
    assert a["values/utility/mse"] == pytest.approx(b["values/utility/mse"])
    assert a["values/floor/prior/accuracy"] == b["values/floor/prior/accuracy"]
    for path in rows():
        path.unlink()
    assert main(["linear", *QUICK, "tabular.lambdas=[0.0]", "tabular.model.noise=0.5"])[0] == a


def test_the_interval_is_student_s_widened_for_shared_training_rows() -> None:
    values = [0.5, 0.6, 0.55, 0.65, 0.7]
    spread = float(np.std(values, ddof=1))
    assert interval(values, 0.3) == pytest.approx(2.776445 * spread * math.sqrt(1 / 5 + 3 / 7), rel=1e-5)
    assert interval([0.5] * 5, 0.3) == 0


@pytest.mark.parametrize(("name", "sensitive", "classify", "classes"), [
    ("diabetes", "sex", False, 0), ("diabetes", "sex", True, 2), ("breast_cancer", "worst_radius", True, 2),
    ("wine", "alcohol", True, 3),
])  # fmt: skip
def test_data_sets(name: str, sensitive: str, classify: bool, classes: int) -> None:
    for bins in (None, 3):
        table = load(name, sensitive, classify, bins)  # type: ignore[arg-type]
        assert set(table.sensitive) == {0, 1} and 0.4 < table.sensitive.mean() < 0.6
        assert table.classes == classes
        others = [len(np.unique(c)) for i, c in enumerate(table.x.T) if i != table.column]
        assert max(others) > 3 if bins is None else max(others) <= 3
        changed = table.supposing(1)
        assert (changed[:, table.column] == 1).all() and not np.shares_memory(changed, table.x)


@pytest.mark.parametrize(("words", "said"), [
    (("tree", "tabular.sensitive=bm"), r"tabular\.sensitive: .*did you mean bmi"),
    (("linear", "tabular.data=wine", "tabular.sensitive=alcohol"), r"tabular\.data: wine .*diabetes"),
    (("linear", "tabular.splits=1"), r"tabular\.splits: .*2"),
    (("linear", "tabular.lambdas=[]"), r"tabular\.lambdas: is empty"),
    (("linear", "tabular.lambdas=[-1.0]"), r"tabular\.lambdas: .*greater"),
    (("tree", "tabular.model.information=prediction"), r"tabular\.model\.information: .*gini"),
    (("linear", "tabular.modle=1"), r"tabular\.modle: no such key"),
    (("forest",), r"tabular: no option 'forest'"),
])  # fmt: skip
def test_mistakes_name_their_key(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as error:
        main(words)
    assert len(error.value.problems) == 1
    assert re.match(said, error.value.problems[0]), error.value.problems


def test_each_study_is_a_command_and_runs_what_it_names() -> None:
    for name, (_, options) in STUDIES.items():
        assert set(options) <= {p.stem for p in (config.CONF / name).glob("*.yaml")}
    assert set(STUDIES["tabular"][1]) == set(OPTIONS)
    assert cli.main(["tabular", "forest"]) == 2


def test_rows_of_a_study_are_read_beside_those_of_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    studied = main(["linear", *QUICK])
    store = Store(os.environ["SPLITPRIV_OUTPUTS"])
    store.add_row(json.loads(next((ROOT / "results/he2019_table4_lite/rows").glob("*.json")).read_text()))
    capsys.readouterr()
    assert cli.main(["rows"]) == 0
    assert studied[1]["key"] in capsys.readouterr().out
    assert cli.main(["rows", "--where", "study=tabular"]) == 0
    text = capsys.readouterr().out
    assert "λ 30" in text and f"{studied[1]['utility/r2']:.3f}" in text
    out = tmp_path / "curve.json"
    attack = "privacy/from_truth/accuracy"
    assert cli.main(["curve", "--where", "study=tabular", "--y", attack, "--out", str(out)]) == 0
    numbers = json.loads(out.read_text())
    assert len(numbers["points"]) == 2 and not numbers["higher_is_more_private"]
    assert numbers["levels"] == {"commonest value": pytest.approx(studied[0]["floor/prior/accuracy"]),
                                 "undefended": pytest.approx(studied[0][attack])}  # fmt: skip
    assert cli.main(["curve", "--where", "study=tabular"]) == 2  # no worst case of images; what there is is named
    assert "from_truth" in capsys.readouterr().err
    assert cli.main(["curve", "--where", "study=tabular", "--x", "utility/mse", "--y", attack]) == 2
    data, _ = build.collect(with_ceilings(store.rows(), store), store)
    assert [attack in run["row"] for run in data["runs"]] == [True, True, False]
    assert data["runs"][1]["row"]["ceiling/from_truth/accuracy"] == studied[0][attack]


def test_every_number_of_a_study_is_in_the_table_of_metrics() -> None:
    for row in main(QUICK):
        told = [key for key in row if "/" in key and key.partition("/")[0] in metrics.GROUPS]
        assert len(told) >= 8 and not [key for key in told if metrics.find(key) is None]


def test_a_table_looks_the_rows_of_a_study_up() -> None:
    (bare,) = main(["linear", *QUICK, "tabular.lambdas=[0.0]"])
    table, store = shipped.load("mid_fig2"), Store(os.environ["SPLITPRIV_OUTPUTS"])
    listed = cells.expand(table, "smoke", cells.Extra(), rows=["a *"])
    assert {cell.state for cell in listed} == {"unsupported"} and "splitpriv tabular" in listed[0].problems[0]
    cells.inspect(listed, store)
    assert {cell.row: cell.state for cell in listed} == {"a no defence": "cached", "a MID": "unsupported"}
    entries = gather(table, listed, cells.rows_of(listed, store)).entries
    assert entries["a no defence", "mse_y"].seeds == {0: bare["utility/mse"]}
    assert entries["a no defence", "attack"].seeds == {0: pytest.approx(100 * bare["privacy/from_truth/accuracy"])}
