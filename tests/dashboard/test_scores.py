"""Scores per victim: of every attack, whether it rebuilds images or infers something, and of older rows too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic
from safetensors.numpy import save_file
from small import DECODER, TINT, execute

from splitpriv import config
from splitpriv.dashboard import build, thumbs
from splitpriv.measure import pictures
from splitpriv.report import terminal
from splitpriv.store import Store


def test_scores_of_every_attack_are_shown_those_of_older_rows_too(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path, 2)
    old, other = store.rows()
    data, _ = build.collect([old, synthetic.inferred(store, other)], store)
    before, after = (run["shown"] for run in data["runs"])
    assert list(before) == ["decoder", "rmle"]  # by their pictures
    assert set(after) == {"decoder", "rmle", "probe", "clean/probe"}
    probe = after["probe"]["scores"]
    assert (sum(probe["truth"]["counts"]), len(probe["correct"]["counts"])) == (64, 2)
    assert probe["correct"]["counts"][1] == round(64 * data["runs"][1]["row"]["privacy/probe/accuracy"])
    exposed = after["probe"]["extremes"]["scores"]["truth"]
    assert exposed[0] == max(exposed) and exposed[6] == min(exposed)  # the most exposed three, three between, the least
    assert data["edges"][f"{other['dataset']}/truth"] == [0, 1]


def test_the_engine_names_the_scores_of_every_attack(tmp_path: Path) -> None:
    words = ("attack=[decoder,probe]", "attack.probe.attribute=tint", "attack.probe.epochs=1")
    cfg = config.compose([*TINT, *DECODER, *words, f"paths.outputs={tmp_path}"])
    store = Store(tmp_path)
    row = execute(cfg, store)
    assert set(terminal.scores_of(row)) == {"decoder", "probe", "clean/probe"}
    shown = build.collect([row], store)[0]["runs"][0]["shown"]
    for name in ("probe", "clean/probe"):
        assert {k: sum(v["counts"]) for k, v in shown[name]["scores"].items()} == {"truth": 8, "correct": 8}
    assert shown["probe"]["scores"]["correct"]["counts"][1] == round(8 * row["privacy/probe/accuracy"])


def test_victims_without_a_match_have_no_score(tmp_path: Path) -> None:
    valid = np.array([1, 0, 1, 1], np.float32)
    save_file({"ap": np.array([0.2, 0, 0.9, 0.5], np.float32), "valid": valid}, tmp_path / "scores.safetensors")
    found = thumbs.measured(tmp_path)
    assert found is not None and list(found["scores"]) == ["ap"]
    assert found["extremes"]["victims"][:3] == [2, 3, 0]  # most exposed first
    assert 1 not in found["extremes"]["victims"]


def test_stores_of_before_show_their_fixed_victims_and_name_the_extremes(tmp_path: Path) -> None:
    x = synthetic.images(np.random.default_rng(0), 8, 16)
    save_file({"x": x, "images": x // 2}, tmp_path / "shown.safetensors")
    save_file({"mse": np.linspace(0, 1, 40, dtype=np.float32)}, tmp_path / "scores.safetensors")
    found = thumbs.measured(tmp_path)
    assert found is not None and np.array_equal(found["fixed"]["images"], pictures.tiles(x // 2))
    assert found["fixed"]["mse"] == pytest.approx([np.square((t - t // 2) / 255).mean() for t in x.astype(float)])
    assert found["extremes"]["victims"] == [0, 1, 2, 19, 20, 21, 39, 38, 37] and "x" not in found["extremes"]
