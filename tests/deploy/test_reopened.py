"""A row leads back to its run: the same config, the same key, the same weights, or one line that says why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small import NOISE, tiny

from splitpriv.run import reopen
from splitpriv.store import Row, Store
from splitpriv.types import UserError

Shelf = tuple[Store, Row]
RESULTS = sorted((Path(__file__).parents[2] / "results").glob("*/rows"))


def test_a_run_reopens_with_its_config(shelf: Shelf) -> None:
    store, row = shelf
    found, wanted = reopen.reopened(row, store), tiny(*NOISE)
    assert {k: found.cfg[k] for k in reopen.GROUPS} == {k: wanted[k] for k in reopen.GROUPS}
    assert found.plan.row == row["key"]


@pytest.mark.parametrize("rows", RESULTS, ids=lambda p: p.parent.name)
def test_rows_of_earlier_versions_have_their_key_still(rows: Path) -> None:
    """Classes moved and settings came since; `reopen` knows what both were."""
    store = Store(rows.parent)
    row = store.row(sorted(rows.glob("*.json"))[0].stem)
    assert row and reopen.planned(row, store).plan.row == row["key"]


def test_what_is_empty_or_came_later_is_given_back() -> None:
    node = {
        "_target_": "splitpriv.defenses.adversarial.Adversarial",
        "net": {"_target_": "splitpriv.nets.decoders.conv"},
    }
    reopen._complete(node, "defense.adversarial")
    assert node["start"] == "same" and node["lr"] == {} and node["net"]["width"] == {}  # type: ignore[index]


def test_what_cannot_be_reopened_says_why(shelf: Shelf, tmp_path: Path) -> None:
    store, row = shelf
    with pytest.raises(UserError, match="is a study, tabular"):
        reopen.reopened({**row, "study": "tabular"}, store)
    with pytest.raises(UserError, match="and this one would make"):
        reopen.reopened({**row, "seed": 7}, store)
    with pytest.raises(UserError, match="no such setting"):
        reopen.reopened({**row, "backbone.depth": 7}, store)
    with pytest.raises(UserError, match=r"fit/.* is not in"):
        reopen.reopened(row, Store(tmp_path / "bare"))
    shutil.copytree(store.root, tmp_path / "damaged")
    damaged = Store(tmp_path / "damaged")
    (damaged.home("fit", row["fit"][0]) / "weights.pt").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"is damaged \(weights\.pt is damaged\)"):
        reopen.reopened(row, damaged)
