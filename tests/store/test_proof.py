"""What lies in a store is what was written there, or is made again: by whatever and wherever a file was damaged."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from small import NOISE, execute, numbers, tiny

from splitpriv import targets
from splitpriv.store import Store, proof, state
from splitpriv.store.keys import fingerprint
from splitpriv.types import UserError


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": flipped,
    "deleted": Path.unlink,
}


def build(home: Path) -> None:
    state.save_state(home / "weights.pt", 1, {"net": torch.nn.Linear(2, 2)}, None)
    state.save_tensors(home / "found.safetensors", {"x": torch.ones(3)})
    (home / "inner").mkdir(exist_ok=True)
    (home / "inner" / "curve.json").write_text("[1, 2]")
    Image.new("RGB", (4, 4), (9, 8, 7)).save(home / "grid.png")


NAMES = ("weights.pt", "found.safetensors", "inner/curve.json", "grid.png", "done")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_stage_is_built_again_and_says_so(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Store(tmp_path).memo("fit", "k", build)
    DAMAGES[damage](home / name)
    built: list[Path] = []
    Store(tmp_path).memo("fit", "k", lambda home: (built.append(home), build(home))[1])
    said = capsys.readouterr().err
    if (name, damage) == ("done", "empty"):  # what older versions wrote
        assert (built, said) == ([], "")
        return
    assert built == [home]
    if (name, damage) != ("done", "deleted"):  # the trace of an interrupted build
        assert said.count("\n") == 1
        assert f"fit/k: {name} is {'missing' if damage == 'deleted' else 'damaged'}; built again" in said
    assert proof.damage(home) == {}


@pytest.mark.parametrize("damage", ["truncated", "empty", "deleted"])
@pytest.mark.parametrize("name", NAMES[:-1])
def test_of_an_older_stage_what_cannot_be_read_is_built_again(name: str, damage: str, tmp_path: Path) -> None:
    home = Store(tmp_path).memo("fit", "k", build)
    (home / "done").write_text("")
    assert proof.damage(home, NAMES[:-1]) == {}
    DAMAGES[damage](home / name)
    assert proof.damage(home, NAMES[:-1]) == {name: "missing" if damage == "deleted" else "damaged"}


def test_done_tells_how_the_stage_was_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.memo("fit", "k", build, made=lambda: {"device": "cpu", "threads": 3})
    made = store.made("fit", "k")
    assert {"device": "cpu", "threads": 3}.items() <= made.items()
    assert made["wall_s"] >= 0 <= made["cpu_s"]
    assert store.made("fit", "other") == {}


def test_a_file_that_did_not_change_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: (read.append(file.name), real(file, kind))[1])
    for _ in range(3):
        Store(tmp_path).memo("fit", "k", build)
    assert len(read) == len(set(read)) == 4


def test_no_bit_of_a_row_flips_unseen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, row = (
        Store(tmp_path),
        {"key": "k", "chain": "none", "seed": 0, "privacy/worst/mse": 0.0125, "flags": ["ü"], "stages": []},
    )
    path = store.add_row(row)
    whole = path.read_bytes()
    unseen = 0
    for place in range(len(whole)):
        for bit in (1, 4, 32):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            found = store.row("k")
            assert found in (None, row), path.read_bytes()
            unseen += found is not None
    assert unseen < 20  # white space
    path.write_bytes(whole)
    assert store.row("k") == row
    assert "rows/k.json: is no row" in capsys.readouterr().err


def test_a_row_of_an_older_version_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    row = {"key": "k", "chain": "none", "seed": 0}
    (tmp_path / "rows" / "k.json").write_text(json.dumps(row))
    assert Store(tmp_path).row("k") == row


def test_no_byte_of_a_saved_state_changes_unseen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, net = tmp_path / "last.pt", torch.nn.Linear(3, 2)
    state.save_state(path, 1, {"net": net}, {"curve": [0.5]})
    whole, begun_again = path.read_bytes(), 0
    for place in range(0, len(whole), 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found = state.found_state(path)
        except UserError:  # it claims to be whole and is none of ours
            found = None
        if found is None:
            begun_again += 1
        else:
            assert (found["epoch"], found["notes"]) == (1, {"curve": [0.5]})
            assert all(torch.equal(found["parts"]["net"][k], v) for k, v in net.state_dict().items())
    assert begun_again > 20


def test_a_run_whose_files_are_damaged_ends_in_its_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, cfg = Store(tmp_path), tiny(*NOISE)
    row = execute(cfg, store)
    files = ["fit/*/weights.pt", "measure/*/means.json", "rows/*.json"]
    for name in files:
        flipped(next(tmp_path.glob(name)))
    assert numbers(execute(cfg, store)) == numbers(row)
    said = capsys.readouterr().err
    assert said.count("\n") == len(files)
    assert "weights.pt is damaged; built again" in said


def test_a_row_says_where_it_was_computed(tmp_path: Path) -> None:
    store, cfg = Store(tmp_path), tiny()
    row = execute(cfg, store)
    assert (row["runtime.device"], row["runtime.threads"]) == ("cpu", 1)
    [fit] = [stage for stage in row["stages"] if stage.startswith("fit/")]
    home = tmp_path / fit
    made = {**store.made(*fit.split("/")), "threads": 2}
    (home / "done").write_text(proof.record(home, made))
    (tmp_path / "rows" / f"{row['key']}.json").unlink()
    mixed = execute(cfg, store)
    assert mixed["runtime.threads"] == "2 and 1"
    [flag] = [flag for flag in mixed["flags"] if flag not in row["flags"]]
    assert flag["text"] == "stages were computed with different runtime.threads: 2 and 1"
    assert flag["remedy"] == "runtime.threads=1 paths.outputs=anew"


def test_a_file_of_a_published_name_has_its_published_content(tmp_path: Path) -> None:
    path = tmp_path / f"net-{hashlib.sha256(b'weights').hexdigest()[:8]}.pth"
    path.write_bytes(b"weights")
    assert proof.is_published(path)
    path.write_bytes(b"weighty")
    assert not proof.is_published(path)


def test_a_class_of_the_user_is_keyed_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(targets, "TRUSTED", (*targets.TRUSTED, "their_own"))
    package = tmp_path / "their_own"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("SIGMA = 1.0\n")
    (package / "mine.py").write_text("class Mine:\n    pass\n")
    node = {"_target_": "their_own.mine.Mine", "a": 1}
    try:
        keys = [fingerprint(defense=node)]
        for name, text in (("mine.py", "class Mine:\n    x = 1\n"), ("helper.py", "SIGMA = 2.0\n")):
            (package / name).write_text(text)
            keys.append(fingerprint(defense=node))
        assert len(set(keys)) == 3
        assert fingerprint(defense=node) == keys[-1]
    finally:
        for name in [name for name in sys.modules if name.startswith("their_own")]:
            del sys.modules[name]
