"""Lists of runs: kinds with intervals, order, chosen columns, and what a narrow terminal shows."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import Any

import pytest

from splitpriv.commands import cli
from splitpriv.report import columns, groups, listing, worlds
from splitpriv.store import Row, Store, notes

BASE: Row = {
    "attack_seed": 0, "dataset": "fashion_tint", "backbone": "tiny", "cut": "conv2", "task": "classify",
    "optim": "adam", "protocol": "strict", "knowledge": "same", "headline": "accuracy", "victims": 128,
    "verdict": "doubtful", "flags": [{"kind": "alone", "subject": "", "text": "only one attack was run"}],
    "floor/mean_image/mse": 0.08, "picture/decoder": "measure/0a/grid.png", "privacy/decoder/mse": 0.02,
}  # fmt: skip
OLD = {"defense.dropout._target_": "splitpriv.defenses.dropout.Dropout", "defense.dropout.rate": 0.1}
SEEN = [("none", 0, 0.9, 0.01), ("none", 1, 0.92, 0.012), ("none", 2, 0.91, 0.011), ("noise", 0, 0.8, 0.03),
        ("noise", 1, 0.82, 0.05)]  # fmt: skip


def rows() -> list[Row]:
    return [
        {**BASE, "key": f"{i:016x}", "chain": chain, "seed": seed, "utility/accuracy": accuracy,
         "privacy/worst/mse": mse, "privacy/worst/psnr": 20.0, "privacy/worst/ssim": 0.5,
         **({"defense.noise.sigma": 0.1} if chain == "noise" else {})}
        for i, (chain, seed, accuracy, mse) in enumerate(SEEN)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("listed"))
    for row in rows():
        store.add_row(row)
    return store


@pytest.fixture
def said(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SPLITPRIV_OUTPUTS", str(store.root))

    def say(*words: str, code: int = 0, width: str = "") -> str:
        monkeypatch.setitem(os.environ, "COLUMNS", width)
        assert cli.main(list(words)) == code
        out = capsys.readouterr()
        return out.err if code else out.out

    return say


def test_a_group_is_a_mean_with_its_interval_over_seeds() -> None:
    none, noise = groups.groups(rows(), ["chain"])
    mean = none.mean("utility/accuracy")
    assert mean and mean.n == none.n == 3 and mean.mean == pytest.approx(0.91)
    assert mean.half == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3)  # Student's t, two degrees of freedom
    assert noise.n == 2 and noise.verdict == "doubtful"


def test_rows_that_differ_in_more_than_seeds_have_no_interval() -> None:
    mixed = [*rows(), {**rows()[-1], "seed": 2, "defense.noise.sigma": 0.2, "key": "f"}]
    noise = groups.groups(mixed, ["chain"])[1]
    assert noise.differ == ["defense.noise.sigma"]
    assert (mean := noise.mean("utility/accuracy")) and mean.half is None
    assert "defense.noise.sigma" in groups.columns([noise], ["chain"], ["utility/accuracy"])[1][1]
    assert [g.differ for g in groups.groups(mixed, ["chain", "defense.noise.sigma"])] == [[], [], []]


def test_attack_seeds_are_no_seeds() -> None:
    nested = [{**row, "attack_seed": a, "key": f"{row['key']}{a}"} for row in rows() for a in (0, 1)]
    assert [g.n for g in groups.groups(nested, ["chain"])] == [3, 2]


def test_order_is_by_meaning_and_what_is_not_said_comes_last() -> None:
    some = [{"k": 10.0}, {"k": None}, {"k": "a"}, {"k": 9}, {}, {"k": float("nan")}]
    assert [row.get("k") for row in columns.ordered(some, "k")][:3] == [9, 10.0, "a"]
    assert [row.get("k") for row in columns.ordered(some, "k", reverse=True)][:3] == ["a", 10.0, 9]


def test_numbers_of_unlike_attackers_are_told_apart() -> None:
    suite = {**BASE, "privacy/worst/mse": 0.01, "privacy/autoinvert/mse": 0.02, "suite": "autoinvert-2"}
    assert worlds.unlike([suite, {**suite, "seed": 1}]) == worlds.unlike([BASE]) == []
    for other in ("autoinvert-1", "autoinvert-2 quick", "autoinvert-2 black", None):
        (line,) = worlds.unlike([suite, {**suite, "suite": other}])
        assert "unlike suites" in line and "autoinvert-2" in line
    (line,) = worlds.unlike([suite, {**suite, "privacy/rmle/mse": 0.03}])
    assert line.startswith("the worst cases are over unlike attacks")
    (line,) = worlds.unlike([suite, {**suite, "protocol.queries": 16}])
    assert line.startswith("unlike queries (1; 16)")
    (line,) = worlds.unlike([{**suite, **OLD}, {**suite, **OLD, "makes": "dropout 2"}])
    assert line.startswith("some were made by older versions of a link (dropout 1, not 2)")


@pytest.mark.parametrize("width", [80, 60, 39])
def test_a_narrow_terminal_shows_what_matters_on_one_line_each(said: Any, width: int) -> None:
    lines = said("rows", width=str(width)).splitlines()
    assert max(map(len, lines)) <= width
    shown = [line for line in lines if line.startswith("doubtful")]
    assert len(shown) == len(SEEN) and all(row["chain"] in line for row, line in zip(rows(), shown, strict=True))
    assert "no room at" in "".join(lines)


def test_a_pipe_shows_each_run_whole_on_a_line(said: Any) -> None:
    lines = said("rows").splitlines()
    assert all(row["key"] in line and "MSE" not in line for row, line in zip(rows(), lines[-6:-1], strict=True))
    assert "no room" not in lines[-1]


def test_rows_by_sort_columns_and_their_formats(said: Any) -> None:
    by = said("rows", "--by", "chain")
    assert "91.00% ± 2.48%" in by and "0.0400 [0.0000, 0.1671]" in by
    assert by.split("\n")[1].split()[:3] == ["doubtful", "none", "3"]
    lines = said("rows", "--columns", "seed,utility/accuracy", "--sort", "utility/accuracy", "--reverse").splitlines()
    assert [line.split() for line in lines[1:]] == [["1", "92.00%"], ["2", "91.00%"], ["0", "90.00%"], ["1", "82.00%"],
                                                     ["0", "80.00%"]]  # fmt: skip
    table = list(csv.DictReader(io.StringIO(said("rows", "--by", "chain", "--format", "csv"))))
    assert table[0]["n"] == "3" and float(table[0]["utility/accuracy:low"]) == pytest.approx(0.91 - 0.0248, abs=1e-4)
    assert json.loads(said("rows", "--columns", "key", "--format", "json"))[0] == {"key": rows()[0]["key"]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--by", "chian"], "--by chian: no row has this key; did you mean chain"),
        (["--columns", "chain,nothing"], "--columns nothing: no row has this key"),
        (["--sort", "utility/acuracy"], "--sort utility/acuracy: no row has this key; did you mean utility/accuracy"),
        (["--columns", ","], "--columns: names no key"),
        (["--reverse"], "--reverse: turns an order; add --sort KEY"),
    ],
)
def test_what_rows_cannot_do_is_said_in_a_line(said: Any, words: list[str], told: str) -> None:
    assert told in said("rows", *words, code=2)


def test_notes_and_tags_belong_to_runs_and_to_no_key(said: Any, store: Store) -> None:
    first, second = (row["key"] for row in rows()[:2])
    before = {path.name: path.read_bytes() for path in (store.root / "rows").iterdir()}
    assert "best so far" in said("note", first, "best", "so far")
    said("tag", first, "paper", "v2")
    assert said("tag", second, "paper") == f"{second} [paper]\n"
    assert said("rows", "--where", "tags=paper", "--columns", "key,tags,note").split()[3:] == [
        first, "paper,v2", "best", "so", "far", second, "paper"]  # fmt: skip
    assert json.loads(said("rows", "--where", "tags!=paper", "--format", "json"))[0]["key"] == rows()[2]["key"]
    assert "tags" in said("rows") and "paper,v2" in said("rows", "--format", "csv")
    said("store", "prune", "--hours", "0")
    assert said("store", "verify")
    assert notes.of(store, first) == notes.Note("best so far", ("paper", "v2"))
    said("tag", first, "v2", "--remove")
    said("note", first, "--remove")
    said("tag", second, "paper", "--remove")
    assert said("tag", first) == f"{first} [paper]\n"
    assert {path.name: path.read_bytes() for path in (store.root / "rows").iterdir()} == before
    assert [p.name for p in sorted((store.root / "notes").glob("*.json"))] == [f"{first}.json"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tag", "0" * 15, "x"], "begins 5 keys"),
        (["tag", "zz", "x"], "no run in"),
        (["tag", rows()[0]["key"], "two words"], "tag: 'two words' is none; a tag begins with"),
        (["tag", rows()[0]["key"], "nothing", "--remove"], "has no tag nothing"),
        (["tag", rows()[0]["key"], "--remove"], "tag: --remove takes the words that go"),
        (["note", rows()[0]["key"], "x" * 4001], "note: has 4,001 characters"),
        (["note", rows()[0]["key"], "x", "--remove"], "note: --remove takes no text"),
    ],
)
def test_what_is_no_note_is_said_in_a_line(said: Any, words: list[str], told: str) -> None:
    assert told in said(*words, code=2)


def test_a_damaged_note_is_left_out_and_named(said: Any, store: Store, tmp_path: Any) -> None:
    (store.root / "notes").mkdir(exist_ok=True)
    key = rows()[4]["key"]
    (store.root / "notes" / f"{key}.json").write_text("{")
    assert key in said("rows") and f"notes/{key}.json is damaged" in _verified(store)
    assert "again" in said("note", key, "again") and "damaged" not in _verified(store)


def _verified(store: Store) -> str:
    return " ".join(notes.damaged(store))


def test_what_all_rows_share_stands_above_them(capsys: pytest.CaptureFixture[str]) -> None:
    listing.print_rows(rows())
    assert "dataset fashion_tint · backbone tiny" in capsys.readouterr().out.splitlines()[0]


def test_a_list_tells_how_often_images_were_released(capsys: pytest.CaptureFixture[str]) -> None:
    first, *_, last = rows()
    listing.print_rows([first, {**last, "protocol.queries": 16}])
    out = capsys.readouterr().out
    assert "protocol.queries" in out and "unlike queries (1; 16)" in out
    assert [listing.context(row, "protocol.queries") for row in (first, {"study": "s"})] == ["1", ""]
