"""Scores per victim: of every attack, whether it rebuilds images or infers something, and of older rows too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic
from safetensors.numpy import save_file
from small import DECODER, TINT

from splitpriv import config
from splitpriv.dashboard import build, thumbs
from splitpriv.report import terminal
from splitpriv.run import pipeline
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
    row = pipeline.execute(cfg, store)
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


def test_extremes_come_out_of_the_grid_in_the_engine_s_own_layout(tmp_path: Path) -> None:
    """`pictures.grid` draws it, the dashboard cuts the same pixels out of it again."""
    torch = pytest.importorskip("torch")
    from splitpriv.measure import pictures

    x = torch.rand(20, 3, 28, 28)
    recon = torch.rand(20, 3, 28, 28)
    scores = {"mse": (x - recon).square().flatten(1).mean(1), "ssim": torch.rand(20)}
    shown = pictures.grid(tmp_path / "grid.png", x, recon, scores, seed=3, title="a title")
    eight = [thumbs.pixels((t * 255).round().byte().numpy()) for t in (x, recon)]
    fixed = [t[shown[: pictures.FIXED]] for t in eight]
    found = thumbs.extremes(tmp_path / "grid.png", *fixed, {k: v.double().numpy() for k, v in scores.items()})
    assert found is not None
    assert found["victims"] == shown[pictures.FIXED :]
    assert found["words"] == ["best"] * 3 + ["median"] * 3 + ["worst"] * 3
    for part, tiles in zip(("x", "images"), eight, strict=True):
        assert np.array_equal(found[part], tiles[found["victims"]])
    assert thumbs.extremes(tmp_path / "grid.png", fixed[1], fixed[0], {"mse": np.zeros(20)}) is None
    save_file({k: v.numpy() for k, v in {**scores, "lpips": torch.rand(20)}.items()}, tmp_path / "scores.safetensors")
    save_file({k: np.ascontiguousarray(v.transpose(0, 3, 1, 2)) for k, v in zip(("x", "images"), fixed, strict=True)},
              tmp_path / "shown.safetensors")  # fmt: skip
    stored = thumbs.measured(tmp_path)  # the file has its metrics in the alphabet's order
    assert stored is not None and stored["extremes"]["victims"] == found["victims"]
