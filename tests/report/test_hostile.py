"""One hostile row hides no other, and no text of a row acts on whoever reads it: each reader, every entry of a row."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save_file

from splitpriv.dashboard import build
from splitpriv.launch import streams
from splitpriv.measure import pictures
from splitpriv.report import curves, frontier, listing, terminal
from splitpriv.report.csv import write_csv
from splitpriv.report.select import Selection, filters
from splitpriv.store import Row, Store
from splitpriv.track import base
from splitpriv.types import UserError

ACTIVE = "\x1b[31m\x1b]0;x\x07\u202e[bold red]=1+1</script>\ud800$\\frac"
VALUES: list[Any] = [
    None, True, -1, 10**15, math.nan, math.inf, 1e308, "", "x", ACTIVE, [], [1, math.nan], ["x"], {},
    {"a": {"b": [ACTIVE]}},
]  # fmt: skip
ODD: Row = {
    "attack/x": [1, 2], "privacy/x/auc": 0.5, "privacy/x/mse": None, "picture/x": "measure/0/grid.png", "flags": [],
    ACTIVE: ACTIVE, "bound/x": math.inf, "ceiling": "../../x", "chance/accuracy": 7.0, "a.b": 1, "a.b.c": 2,
}  # fmt: skip


def row(key: str, **more: Any) -> Row:
    return {
        "key": key, "ceiling": "k0", "chain": "none", "seed": 0, "attack_seed": 0, "dataset": "d", "backbone": "b",
        "cut": 1, "protocol": "strict", "headline": "accuracy", "victims": 128, "utility/accuracy": 0.9,
        "privacy/worst/mse": 0.02, "privacy/a/mse": 0.02, "floor/mean_image/mse": 0.1,
        "picture/a": "measure/0a/grid.png", "optim.epochs": 3,
        "scores/a": "measure/0a/scores.safetensors", "attack.a.epochs": 4, "attack/a/train": [0.5, 0.4], "flags": ["x"],
        "fit": ["f"], "stages": ["fit/f"], "trajectory": [{"phase": "fit", "epoch": 0, "task": 0.5}], "commit": None,
        "study": "s", "way": "w", "suite": "a-1", "suite/b/mse": 0.03,
        "privacy/suite/mse": 0.02, "runtime.device": "cpu", "protocol.limit.victims": 100, "binds/image": "a", **more,
    }  # fmt: skip


def readers(store: Store) -> str:
    """What a terminal sees of every reader."""
    selection, out = Selection(store), io.StringIO()
    rows = selection.rows()
    listing.print_rows(rows)
    write_csv(rows, out)
    assert len(list(csv.reader(io.StringIO(out.getvalue())))) == len(rows) + 1
    for each in rows:
        terminal.print_row(each, store)
        json.dumps([list(base.curves(each)), base.settings(each)])
        base.victims(each, store)
        assert all(map(math.isfinite, base.numbers(each).values()))
    try:
        _, _, numbers = frontier.compare(rows, metric="mse")
        frontier.print_frontier(numbers)
    except UserError as error:  # what cannot stand on one front is said
        terminal.console().print(str(error), markup=False)
    data, _ = build.whole(rows, store, selection.tables())
    json.dumps(data, allow_nan=False)
    assert len(data["runs"]) == len(rows)
    return out.getvalue()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:12])
def test_no_value_of_any_entry_stops_a_reader(value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.add_row(row("k0"))
    for i, key in enumerate(row("k0")):
        if key != "key":
            store.add_row(row(f"h{i}", **{key: value}))
    told = readers(store)
    said = capsys.readouterr()
    assert "k0" in said.out
    for text in (said.out, said.err, told):
        assert not {"\x1b", "\x07", "\u202e", "\ud800"} & set(text)


def test_entries_of_no_known_kind_stop_no_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.add_row(row("k0"))
    for i, (key, value) in enumerate(ODD.items()):
        store.add_row(row(f"h{i}", **{key: value}))
    store.add_row({"key": "bare", "chain": ACTIVE, "seed": 0})
    told = readers(store)
    assert len(store.rows()) == len(ODD) + 2
    cells = [cell for line in csv.reader(io.StringIO(told)) for cell in line]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@") or (cell[:1] == "-" and not cell[1:2].isdigit())]
    assert "[bold red]" in capsys.readouterr().out  # as it stands


def test_a_formula_in_a_name_is_no_formula_in_a_csv() -> None:
    out = io.StringIO()
    write_csv([row("k", chain="=1+1", **{"@x": "-2+3", "seed": -1})], out)
    (line,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert (line["chain"], line["'@x"], line["seed"]) == ("'=1+1", "'-2+3", "-1")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_curve_draws_any_name(ending: str, tmp_path: Path) -> None:
    curves.draw(
        [row("k", chain=ACTIVE[:-8] + "$\\x", study=None)], Store(tmp_path), tmp_path / f"a.{ending}", metric="mse"
    )
    content = (tmp_path / f"a.{ending}").read_bytes()
    assert content and b"\x1b[" not in content if ending == "svg" else content


def test_a_curve_is_strict_json(tmp_path: Path) -> None:
    bare = row("k", **{"ceiling/a/mse": math.nan})
    numbers = curves.draw([bare], Store(tmp_path), tmp_path / "a.json", metric="mse", reference=(0.0, 1.0))
    told = json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert numbers["reference"] == told["reference"] == [0.0, 1.0]


# ---- files beside the rows -----------------------------------------------------------------------------------------


def stage(home: Path) -> None:
    home.mkdir(parents=True)
    x = np.zeros((1, 3, 4, 4), np.uint8)
    pictures.Shown(x, x, ["fixed"], [0], {"mse": np.ones(1, np.float32)}).write(home)
    save_file({"mse": np.ones(5, np.float32)}, home / "scores.safetensors")


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "noise": lambda path: path.write_bytes(bytes(range(256))), "folder": lambda path: (path.unlink(), path.mkdir()),
    "other": lambda path: save_file({"x": np.ones(3), "images": np.ones(3), "mse": np.ones(2), "a": np.ones(3)}, path),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["shown.safetensors", "scores.safetensors"])
def test_a_damaged_file_of_a_stage_stops_no_reader(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, one = Store(tmp_path), row("k0")
    store.add_row(one)
    stage(tmp_path / "measure" / "0a")
    assert build.collect([one], store)[0]["runs"][0]["shown"]["a"]["fixed"]["mse"] == [1]
    DAMAGES[damage](tmp_path / "measure" / "0a" / name)
    readers(store)
    curves.draw([one], store, tmp_path / "a.svg", metric="mse")
    shown, (_, lines) = base.pictures(one, store), base.victims(one, store)
    assert (list(shown), len(lines)) == ((["a"], 0) if name == "scores.safetensors" else ([], 5))
    assert damage == "folder" or f"{name} is damaged" in capsys.readouterr().err


def test_damaged_sweeps_and_tables_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.add_row(row("k0"))
    for i, text in enumerate(("[]", "{", '{"points": 3}', '{"points": [3, {"overrides": 7}]}', "\ud800")):
        home = tmp_path / "multirun" / f"2026-01-02_03-04-0{i}_9" / "0"
        home.mkdir(parents=True)
        for path in (home.parent / "points.json", home / "failed.json", tmp_path / f"tables/{i}.json"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode(errors="surrogatepass"))
    (tmp_path / "tables/good.json").write_text('{"name": "t", "columns": ["a"], "rows": [[NaN]]}')
    (tmp_path / "fit").touch()
    with FileLock(tmp_path / "multirun/2026-01-02_03-04-00_9/lock"):
        data, _ = build.whole(store.rows(), store, Selection(store).tables())
    assert len(data["status"]["sweeps"]) == 5 and [t["rows"] for t in data["tables"]] == [[[None]]]
    assert capsys.readouterr().err.count("is no table") == 5


# ---- filters and encodings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "keys"),
    [(["s=5e-2"], "b"), (["s=0.050"], "b"), (["seed=1.0"], "b"), (["seed!=1"], "ac"), (["s>=0.05"], "bc"),
     (["s<0.05"], "a"),     (["s>0.01", "s<1e-1"], "b"), (["on=true"], "a"), (["on=null"], "bc"),
     (["chain=x=y"], "c"), (["s<=inf"], "abc")],
)  # fmt: skip
def test_filters_compare_numbers_as_numbers(words: list[str], keys: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i, (key, s) in enumerate((("a", 0.01), ("b", 0.05), ("c", 0.1))):
        more = {"on": True} if key == "a" else {"chain": "x=y"} if key == "c" else {}
        store.add_row(row(key, seed=i, s=s, **more))
    assert sorted(found["key"] for found in Selection(store, filters(words)).rows()) == list(keys)


def test_filters_that_say_nothing_are_refused() -> None:
    for words, said in (
        (["s>=x"], ">= compares numbers"),
        (["s"], "is not key=value"),
        (["s=1", "s=2"], "given twice"),
    ):
        with pytest.raises(UserError, match=said):
            filters(words)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "utf-16"])
def test_any_encoding_of_standard_output_will_do(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(buffer, encoding=encoding))
    with streams.shown():
        terminal.print_row(row("k", chain="σ · \ud800"), Store(tmp_path))
        listing.print_rows([{**row("k"), "verdict": "void"}])
        print("↑ ≥ 漢")
    text = buffer.getvalue().decode(encoding)
    assert ("↑" if encoding.startswith("utf") else "^ ") in text and r"\ud800" in text
