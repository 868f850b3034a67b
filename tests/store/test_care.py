"""Verify names what is damaged; prune removes what no row needs, and nothing that anybody works at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from splitpriv.commands import cli
from splitpriv.store import Store, care

NEEDED, IDLE, OPEN = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A needed and an idle stage, one that was begun, half of a row."""
    store = Store(tmp_path)
    for key in (NEEDED, IDLE):
        store.memo("fit", key, lambda home: (home / "curve.json").write_text("[1]"))
    store.home("fit", OPEN).mkdir()
    (store.home("fit", OPEN) / "last.pt").write_text("x")
    store.add_row({"key": "k", "chain": "none", "seed": 0, "stages": [f"fit/{NEEDED}"]})
    (tmp_path / "rows" / ".k.json.123").write_text("{")
    return store


def names(found: list[tuple[Path, str, int]]) -> dict[str, str]:
    return {path.name: why for path, why, _ in found}


def test_prune_takes_what_no_row_needs(store: Store) -> None:
    expected = {IDLE: "no row needs it", OPEN: "unfinished", ".k.json.123": "half of a file"}
    assert names(care.prune(store, hours=1)) == {}  # a run may be between two stages
    assert names(care.prune(store, hours=-1, dry=True)) == expected
    assert store.home("fit", IDLE).exists()
    with FileLock(store.home("fit", OPEN).with_name(f"{OPEN}.lock")):
        assert names(care.prune(store, hours=-1)) == {k: v for k, v in expected.items() if k != OPEN}
    assert names(care.prune(store, hours=-1)) == {OPEN: "unfinished"}
    assert store.state("fit", NEEDED) == "cached"
    assert store.row("k") is not None


@pytest.mark.parametrize("content", ['{"key": "old", "chain": "none", "seed": 0}', "{"])
def test_prune_keeps_finished_stages_where_a_row_cannot_say_what_it_needs(content: str, store: Store) -> None:
    (store.root / "rows" / "old.json").write_text(content)
    assert IDLE not in names(care.prune(store, hours=-1))


@pytest.mark.parametrize("hours", ["nan", "-1", "inf"])
def test_hours_that_are_none_remove_nothing(
    hours: str, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "SPLITPRIV_OUTPUTS", str(store.root))
    assert cli.main(["store", "prune", "--hours", hours]) == 2
    assert f"--hours {hours}: is no length of time" in capsys.readouterr().err
    assert store.home("fit", OPEN).exists()


def test_verify_names_what_is_damaged_and_seals_what_is_older(store: Store) -> None:
    (store.home("fit", IDLE) / "done").write_text("")
    found = care.verify(store)
    assert (found.whole, found.older, found.unfinished, found.rows, found.damaged) == (1, 1, 1, 1, [])
    assert care.verify(store, seal=True).older == 1
    (store.home("fit", IDLE) / "curve.json").write_text("[2]")
    (store.root / "rows" / "k.json").write_text('{"stages": []}')
    damaged = care.verify(store).damaged
    assert damaged[0] == f"fit/{IDLE}: curve.json is damaged" and damaged[1].startswith("rows/k.json is no row")


def test_the_commands(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SPLITPRIV_OUTPUTS", str(store.root))
    assert cli.main(["store", "verify"]) == 0
    assert cli.main(["store", "size"]) == 0
    assert cli.main(["store", "prune", "--dry-run", "--hours", "0"]) == 0
    said = capsys.readouterr().out
    for words in ("2 stages and 1 rows whole, 1 stages unfinished", "all ", f"fit/{IDLE}  no row needs it", "would go"):
        assert words in said
    (store.home("fit", IDLE) / "curve.json").unlink()
    assert cli.main(["store", "verify"]) == 1
    assert f"fit/{IDLE}: curve.json is missing" in capsys.readouterr().out
