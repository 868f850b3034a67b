"""`splitpriv tune`: the strongest setting within a loss of utility, found by a search beside the undefended twin."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from splitpriv.commands import cli
from splitpriv.launch import folder, running, search, tuning
from splitpriv.report import curves
from splitpriv.store import Store
from splitpriv.types import UserError

ROWS = {f"k{i}": {"key": f"k{i}", "utility/accuracy": 0.9 - i / 200, "privacy/worst/mse": i / 10, "verdict": "sound",
                  "flags": [], "defense.noise.sigma": i / 10, "chain": "noise"} for i in range(5)}  # fmt: skip
TWIN = {"key": "twin", "utility/accuracy": 0.9, "privacy/worst/mse": 0.0, "chain": "none", "verdict": "sound"}


def test_what_is_given_is_not_searched() -> None:
    assert tuning.strengths(["defense=[cem,noise]", "defense.noise.sigma=0.1"]) == [
        "defense.cem.weight=tag(log, interval(0.5, 128.0))"
    ]
    assert tuning.strengths(["defense=[cem,noise]", "defense.cem.clusters=3,5"]) == []
    assert tuning.strengths(["defense=[cloak_noise]"]) == ["defense.cloak.max_scale=tag(log, interval(0.05, 10.0))"]
    for words, said in (
        (["defense=[none]"], "there is no defence whose strength"),
        (["defense=[noise]", "defense.noise.sigma=1"], "every strength of the chain is given"),
        (["defense=[noise]", "split.at=1,2"], "settings of defences alone, .*; give split.at one value"),
        (["defense=[noise],[none]"], "give defense one value"),
    ):
        with pytest.raises(UserError, match=said):
            tuning.strengths(words)


def test_a_defence_that_declares_none_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from splitpriv.defenses.noise import Noise

    monkeypatch.setattr(Noise, "strength", {})
    with pytest.raises(
        UserError, match=r"noise does not say .* 'defense\.noise\.sigma=interval\(0\.1,10\)'; it has sigma"
    ):
        tuning.strengths(["defense=[noise]"])


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    told: list[list[str]] = []

    def run(words: list[str], home: Any) -> list[str]:
        told.append(words)
        place = home(SimpleNamespace(cfg={"paths": {"outputs": str(tmp_path)}}))
        for i, key in enumerate(ROWS):
            folder.leave(place, i, {"key": key})
        return []

    def point(prepared: Any, wait: bool) -> dict[str, Any]:
        told.append(list(prepared.cfg["defense"]))
        return TWIN

    monkeypatch.setattr(search, "run", run)
    monkeypatch.setattr(search, "checked", lambda words: None)
    monkeypatch.setattr(running, "point", point)
    monkeypatch.setattr(Store, "row", lambda self, key: ROWS[key])
    monkeypatch.setattr(
        curves, "draw", lambda rows, store, out, **about: told.append([r["key"] for r in rows]) or about
    )
    return told


def test_the_strongest_within_the_loss_is_found(searched: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["defense=[noise]", "attack=[decoder]", "paths.outputs=/tmp/hydra", "hydra.verbose=true"]
    assert cli.main(["tune", *words, "--loss", "1", "--trials", "5"]) == 0
    twin, words, drawn = searched
    assert twin == [] and sorted(drawn) == [*ROWS, "twin"]
    assert {"hydra.sweeper.n_trials=5", "hydra/sweeper=optuna", "hydra.sweeper.direction=[maximize,maximize]"} <= {
        *words
    }
    said = capsys.readouterr().out
    assert "best at ≤ 1 points of loss: defense.noise.sigma=0.2: utility/accuracy 0.8900 (-1.00 points)" in said
    assert (
        "run it: splitpriv run 'defense=[noise]' 'attack=[decoder]' paths.outputs=/tmp/hydra defense.noise.sigma=0.2"
        in said
        and "picture: " in said
    )


def test_none_within_the_loss_is_said(searched: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    ROWS["k0"]["utility/accuracy"] = 0.8
    try:
        assert cli.main(["tune", "defense=[noise]", "attack=[decoder]", "--loss", "0.1"]) == 2
    finally:
        ROWS["k0"]["utility/accuracy"] = 0.9
    assert "every strength loses more than 0.1 points" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--loss", "-1"], ["--trials", "0"], ["--out", "a.txt"], ["objective=x"], [],
                                   ["defense=[noise]", "defense.noise.sigma=range(1,0)"]])  # fmt: skip
def test_what_cannot_be_tuned(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
