"""A file that is no row is left out, counted and named; the others are read. Numbers in rows are strict JSON."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from splitpriv.store import Row, Store, index, rows

GOOD: Row = {"key": "good", "chain": "none", "seed": 0}


def strict(text: str) -> Any:
    """JSON as any other language reads it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def written(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**GOOD, "key": path.stem, **entries}))


HOSTILE = {
    "nojson": lambda path: path.write_text("{"), "empty": lambda path: path.write_text(""),
    "list": lambda path: path.write_text("[1]"), "binary": lambda path: path.write_bytes(os.urandom(999)),
    "nuls": lambda path: path.write_bytes(bytes(999)), "deep": lambda path: path.write_text("[" * 99_999),
    "digits": lambda path: path.write_text('{"key": "digits", "chain": "none", "seed": ' + "9" * 400 + "}"),
    "folder": lambda path: path.mkdir(), "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to("good.json"), "lost": lambda path: path.symlink_to("nowhere"),
    "other": lambda path: path.write_text(json.dumps(GOOD)), "\x1b[31mred": written,
    "bare": lambda path: path.write_text('{"key": "bare"}'),
    "sum": lambda path: written(path, sum="0"), "odd": lambda path: written(path, not_finite={"seed": "nan"}),
}  # fmt: skip


def test_no_file_hides_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.add_row(GOOD)
    for name, make in HOSTILE.items():
        make(tmp_path / "rows" / f"{name}.json")
    assert store.rows() == [GOOD]
    found, wrong = store.read_rows()
    assert found == [GOOD] and set(wrong) == {f"{name}.json" for name in HOSTILE}
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"left out {len(HOSTILE)} of {len(HOSTILE) + 1} rows" in said
    assert "\x1b" not in said and r"\x1b[31mred.json" in said
    for name in HOSTILE:
        assert store.row(name) is None
    assert "pipe.json: is a special file" in capsys.readouterr().err
    assert store.row("../rows/good") is None


def test_a_file_too_large_for_a_row_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path).add_row(GOOD)
    monkeypatch.setattr(rows, "LIMIT", 10)
    assert "more than any row" in Store(tmp_path).read_rows()[1]["good.json"]


TYPES = {"seed": "0", "chain": 1, "dataset": [], "victims": 1.5, "flags": "x", "trajectory": [1], "fit": "x",
         "privacy/a/mse": "0.1", "privacy/a": 1, "utility/accuracy": {}, "picture/a": "../x.png", "scores/a": "/x",
         "optim.epochs": "9", "protocol.limit.victims": True, "binds/a": 1, "defense.noise": {"sigma": 1}}  # fmt: skip


@pytest.mark.parametrize("key", TYPES)
def test_a_row_with_an_entry_of_another_kind_is_none(key: str) -> None:
    assert rows.fault(GOOD, "good") is None
    assert key in str(rows.fault({**GOOD, key: TYPES[key]}, "good"))
    assert (
        rows.fault({**GOOD, "flags": [{"kind": "x"}]}, "good") and rows.fault({**GOOD, "flags": ["x"]}, "good") is None
    )


def test_numbers_that_json_lacks_are_null_in_the_file_and_come_back(tmp_path: Path) -> None:
    row = {**GOOD, "privacy/a/auc": math.nan, "trajectory": [{"phase": "fit", "task": math.inf}]}
    told = strict(Store(tmp_path).add_row(row).read_text())
    assert told["privacy/a/auc"] is None and told["trajectory"] == [{"phase": "fit", "task": None}]
    assert told["not_finite"] == {"privacy/a/auc": "nan", "trajectory": {"0": {"task": "inf"}}}
    found = Store(tmp_path).row("good")
    assert found and math.isnan(found["privacy/a/auc"]) and found["trajectory"] == row["trajectory"]
    assert "not_finite" not in found


@pytest.mark.parametrize(
    ("value", "same", "other"),
    [(0.05, ["0.05", "5e-2", ".050"], ["0.5", "x", ""]), (1, ["1", "1.0", "1e0"], ["true", "2"]),
     (True, ["true", "True"], ["1", "yes"]), (None, ["null"], ["", "0"]), ("1", ["1"], ["1.0"]),
     (math.nan, ["nan"], ["0"]), ([1, "a"], ['[1, "a"]'], ["[1]"])],
)  # fmt: skip
def test_a_value_equals_what_writes_it(value: Any, same: list[str], other: list[str]) -> None:
    assert all(rows.equals(value, text) for text in same)
    assert not any(rows.equals(value, text) for text in other)


# ---- many of them --------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of five rows, old enough to be kept in an index."""
    monkeypatch.setattr(index, "LEAST", 3)
    store = Store(tmp_path)
    for i in range(5):
        path = store.add_row({**GOOD, "key": f"k{i}", "seed": i, "privacy/worst/mse": math.nan})
        os.utime(path, ns=(10**18 + i, 10**18 + i))
    return store


def seeds(store: Store) -> list[int]:
    return [row["seed"] for row in store.rows()]


def test_an_index_reads_as_the_files_do(many: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = many.rows()
    assert (many.root / "rows" / index.NAME).exists()
    monkeypatch.setattr(rows, "row", lambda path: pytest.fail(f"{path} was read again"))
    again = many.rows()
    assert [repr(row) for row in again] == [repr(row) for row in first] and len(again) == 5


def test_an_index_follows_its_files(many: Store) -> None:
    many.rows()
    folder = many.root / "rows"
    (folder / "k0.json").unlink()
    path = many.add_row({**GOOD, "key": "k1", "seed": 11})  # rewritten, and too young to be kept
    (folder / "k2.json").write_text("{")
    many.add_row({**GOOD, "key": "k9", "seed": 9})
    assert sorted(seeds(many)) == [3, 4, 9, 11]
    os.utime(path, ns=(10**18 + 9, 10**18 + 9))
    assert sorted(seeds(many)) == [3, 4, 9, 11]
    known = index.Index(folder).read({})
    assert "k0.json" not in known


@pytest.mark.parametrize("damage", [b"", b"no data base", None])
def test_a_damaged_index_is_no_matter(many: Store, damage: bytes | None) -> None:
    many.rows()
    file = many.root / "rows" / index.NAME
    file.write_bytes(file.read_bytes()[:5000] if damage is None else damage)
    assert seeds(many) == [0, 1, 2, 3, 4]
    assert seeds(many) == [0, 1, 2, 3, 4]


def test_a_number_that_changed_within_the_index_is_not_read(many: Store) -> None:
    many.rows()
    with contextlib.closing(sqlite3.connect(many.root / "rows" / index.NAME)) as base, base:
        base.execute("""update checked set text = replace(text, '"seed": 3', '"seed": 8')""")
    assert seeds(many) == [0, 1, 2, 3, 4]


def test_verification_trusts_no_index(many: Store) -> None:
    many.rows()
    path = many.root / "rows" / "k3.json"
    about, text = path.stat(), path.read_text()
    path.write_text(text.replace('"seed": 3', '"seed": 8'))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert "k3.json" in many.read_rows(anew=True)[1]
