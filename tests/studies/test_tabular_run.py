"""The tabular command: rows, intervals, cache, mistakes."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from splitpriv import config, targets
from splitpriv.studies.tabular.data import load
from splitpriv.studies.tabular.run import Experiment, interval, main
from splitpriv.types import UserError

OPTIONS = sorted(p.stem for p in (config.CONF / "tabular").glob("*.yaml"))
QUICK = ("tabular.splits=3", "tabular.lambdas=[0.0,30.0]", "tabular.answers=2")


def rows() -> list[Path]:
    return sorted((Path(os.environ["SPLITPRIV_OUTPUTS"]) / "tabular").glob("*.json"))


@pytest.mark.parametrize("option", OPTIONS)
def test_lambda_lowers_information_utility_and_attacks(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    none, much = main([option, *QUICK])
    text = capsys.readouterr().out
    assert "(reconstructed)" in text and "±" in text and "commonest value" in text
    assert much["information"] < 0.1 * none["information"]
    assert none["attack/truth"] > none["floor/prior"] + 0.03
    attacks = [k for k in none if k.startswith("attack/") and k.count("/") == 1]
    assert set(attacks) == {"attack/truth", "attack/answer"} | ({"attack/counts"} if option == "tree" else set())
    for name in attacks:
        assert much[name] == pytest.approx(much["floor/prior"], abs=0.05) and much[name] < none[name]
    assert len(none["attack/truth/values"]) == 3
    assert none["method"] == {"linear": "MID-LR", "tree": "MID-tree"}[option] + " (reconstructed)"
    for row in (none, much):
        assert row["attack/truth"] == pytest.approx(np.mean(row["attack/truth/values"]))
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
    monkeypatch.setattr(Experiment, "at", None)
    assert main(["linear", *QUICK]) == first
    with pytest.raises(TypeError):
        main(["linear", *QUICK, "tabular.seed=1"])


def test_splits_are_paired_over_lambda_and_repeat() -> None:
    a, b = (main(["linear", *QUICK, "tabular.lambdas=[0.0]", f"tabular.model.noise={s}"])[0] for s in (0.5, 0.9))
    assert a["mse/values"] == pytest.approx(b["mse/values"]) and a["floor/prior/values"] == b["floor/prior/values"]
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


def test_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "splitpriv.studies.tabular", "forest"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no option 'forest'" in done.stderr and "Traceback" not in done.stderr
