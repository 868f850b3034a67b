"""From Python: what the command line makes, opened; every door lazy, every mistake one message."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from small import DECODER, NOISE, SMALL

import splitpriv
from splitpriv.run import pipeline
from splitpriv.store import Store
from splitpriv.types import UserError

WORDS = [*SMALL, *DECODER, *NOISE]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> splitpriv.Run:
    return splitpriv.run(WORDS, outputs=tmp_path_factory.mktemp("store") / "with spaces, and more")


def test_a_run_is_opened_with_all_that_the_store_has_of_it(made):
    opened = splitpriv.load(made.key[:6], outputs=made.store.root)
    assert opened.row == made.row and opened.row["chain"] == "noise"
    x = opened.victims
    assert len(x) == made.row["victims"]
    rebuilt = opened.reconstructions["decoder"]
    assert float((rebuilt - x).square().mean()) == pytest.approx(made.row["privacy/decoder/mse"], rel=1e-5)
    assert float(opened.scores["decoder"]["mse"].mean()) == pytest.approx(made.row["privacy/decoder/mse"], rel=1e-5)
    first, second = opened.model.release(x), opened.model.release(x)
    assert first.shape[1:] == opened.model.shape and not torch.equal(first, second), "noise is fresh"
    assert not opened.model.training
    assert opened.grid().size == opened.grid("decoder").size
    assert "decoder rebuilt" in opened.summary() and "Doubt:" in opened.summary()
    assert "data:image/png;base64," in opened._repr_html_()


def test_the_room_of_runs_is_a_function_too(made):
    """Whatever was imported before: a room's modules stay where they are."""
    assert pipeline is sys.modules["splitpriv.run"].pipeline
    assert splitpriv.run(WORDS, outputs=made.store.root).key == made.key, "a finished run answers at once"
    assert splitpriv.run.pipeline is pipeline


def test_rows_are_a_list_and_a_frame(made):
    found = splitpriv.rows("defense.noise.sigma>=0.1", dataset="gaussian", seed=0, outputs=made.store.root)
    assert [row["key"] for row in found] == [made.key]
    assert splitpriv.rows(chain="none", outputs=made.store.root) == []
    frame = found.to_pandas()
    assert frame.loc[0, "privacy/decoder/mse"] == made.row["privacy/decoder/mse"]
    assert made.key in found._repr_html_()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda at: splitpriv.run(["defense=[nois]"], outputs=at), "did you mean"),
        (lambda at: splitpriv.run("split.at=99", outputs=at), "split.at: 99 is outside"),
        (lambda at: splitpriv.load("zz", outputs=at), "no run in"),
        (lambda at: splitpriv.load("", outputs=at), "no run in"),
        (lambda at: splitpriv.rows("nonsense", outputs=at), "is not key=value"),
        (lambda at: splitpriv.rows(nonsense=1, outputs=at), "no row has this key"),
    ],
)
def test_a_mistake_is_one_message(made, ask, says):
    with pytest.raises(splitpriv.UserError) as error:
        ask(made.store.root)
    assert says in str(error.value) and len(error.value.problems) == 1
    assert error.value._render_traceback_() == [f"splitpriv: {error.value}"], "as a notebook shows it"


def test_what_is_lost_is_named_and_nothing_is_trained(made, tmp_path):
    elsewhere = Store(tmp_path)
    elsewhere.add_row(made.row)
    opened = splitpriv.load(made.key, outputs=tmp_path)
    assert opened.row["key"] == made.key
    for ask in (lambda: opened.model, opened.grid, lambda: opened.reconstructions["decoder"], lambda: opened.scores):
        with pytest.raises(UserError, match="is not"):
            ask()
    assert not (tmp_path / "fit").exists()
    with pytest.raises(UserError, match="there is no 'rmle'; there are decoder"):
        opened.reconstructions["rmle"]
    elsewhere.add_row({**made.row, "key": f"{made.key}0"})
    with pytest.raises(UserError, match="begins 2 keys"):
        elsewhere.find(made.key[:5])
    assert elsewhere.find(made.key)["key"] == made.key, "a whole key is no prefix"
    other = splitpriv.load(f"{made.key}0", outputs=tmp_path)
    with pytest.raises(UserError, match="an older version"):
        _ = other.model


def test_importing_costs_next_to_nothing():
    code = """
import sys, splitpriv
assert {"run", "load", "rows", "audit", "UserError"} <= set(dir(splitpriv))
heavy = {"torch", "hydra", "numpy", "pydantic"} & set(sys.modules)
splitpriv.UserError, splitpriv.load, splitpriv.rows
sys.exit(bool(heavy) or "torch" in sys.modules or callable(getattr(splitpriv, "nothing", None)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
