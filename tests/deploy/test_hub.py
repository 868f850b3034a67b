"""A pushed run comes back as what it was, or not at all."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from splitpriv.commands import cli
from splitpriv.deploy import hub, pack
from splitpriv.run.context import Run
from splitpriv.run.reopen import reopened
from splitpriv.store import Row, Store, proof
from splitpriv.store.state import load_tensors, save_tensors
from splitpriv.types import UserError

Shelf = tuple[Store, Row]


@pytest.fixture(scope="module")
def pushed(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pushed") / "model"
    assert cli.main(["push", shelf[1]["key"], str(out), f"paths.outputs={shelf[0].root}"]) == 0
    return out


def copied(pushed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pushed, tmp_path / "copy"))


def resealed(folder: Path) -> Path:
    """The folder with the hashes of what it holds now: as if whoever made it had made it so."""
    about = proof.unseal((folder / pack.MANIFEST).read_text(), since="layout")
    about["files"] = {name: proof.sha256(folder / name) for name in about["files"]}
    (folder / pack.MANIFEST).write_text(proof.seal(about))
    return folder


def test_the_layout_is_a_hub_s(pushed: Path, shelf: Shelf) -> None:
    assert {p.name for p in pushed.iterdir()} == {"model.safetensors", "config.json", "row.json", "curves.json",
                                                  "README.md", "card.html", "splitpriv.json"}  # fmt: skip
    readme = (pushed / "README.md").read_text()
    assert readme.startswith("---\nlibrary_name: splitpriv") and "Defence: noise" in readme
    assert "data:image" not in (pushed / "card.html").read_text()  # victims stay at home unless asked
    assert json.loads((pushed / "config.json").read_text())["defense"]["noise"]["sigma"] == 0.3
    everything = "".join(p.read_text() for p in pushed.glob("*.json"))
    assert str(shelf[0].root) not in everything


def test_a_pulled_model_gives_its_row_s_numbers(pushed: Path, shelf: Shelf, tmp_path: Path) -> None:
    assert cli.main(["pull", str(pushed), "--out", str(tmp_path / "in")]) == 0
    store, key = Store(tmp_path / "in"), shelf[1]["key"]
    row = store.row(key)
    assert row and row["utility/accuracy"] == shelf[1]["utility/accuracy"]
    models = [Run(p := reopened(row, s), s, p.parts.runtime.start()).model for s in (store, shelf[0])]
    x = torch.rand(3, *models[0].spec.image)
    assert torch.equal(models[0].features(x), models[1].features(x))


def test_another_model_is_not_kept(pushed: Path, tmp_path: Path, capsys: Any) -> None:
    """Whoever reseals other weights, or a row that promises more, is found by evaluating."""
    folder = copied(pushed, tmp_path)
    row = proof.unseal((folder / "row.json").read_text(), since="stages")
    row["utility/cross_entropy"] /= 2
    (folder / "row.json").write_text(proof.seal(row))
    assert cli.main(["pull", str(resealed(folder)), "--out", str(tmp_path / "in")]) == 1
    said = capsys.readouterr().out
    assert "utility/cross_entropy" in said and "the model is not kept" in said and not (tmp_path / "in").exists()


def test_what_was_tampered_with_is_refused(pushed: Path, tmp_path: Path) -> None:
    folder = copied(pushed, tmp_path)
    (folder / "model.safetensors").write_bytes((pushed / "model.safetensors").read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match=r"model\.safetensors is not what was pushed"):
        pack.manifest(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        pack.manifest(folder)
    for change, told in (
        ({"weights": ["model.pt"], "files": {"model.pt": "", "row.json": "", "curves.json": ""}}, "is no safetensors"),
        ({"files": {"../row.json": ""}}, "names files that no push makes"),
        ({"key": "../../elsewhere"}, "names files that no push makes"),
        ({"layout": 9}, "its layout is 9"),
    ):
        about = proof.unseal((pushed / pack.MANIFEST).read_text(), since="layout")
        (folder / pack.MANIFEST).write_text(proof.seal({**about, **change}))
        with pytest.raises(UserError, match=told):
            pack.manifest(folder)
    for text in ("{", "[" * 100_000):
        (folder / pack.MANIFEST).write_text(text)
        with pytest.raises(UserError, match="is damaged"):
            pack.manifest(folder)


def test_weights_of_another_network_are_refused(pushed: Path, tmp_path: Path) -> None:
    folder = copied(pushed, tmp_path)
    tensors = load_tensors(folder / "model.safetensors")
    save_tensors(folder / "model.safetensors", {k: v for k, v in tensors.items() if "cloud" not in k})
    with pytest.raises(UserError, match="its weights are not those of its config"):
        hub.pulled(resealed(folder), tmp_path / "in", [])
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"curves": [5]}', '{"curves": [[null]]}'])
def test_curves_that_are_none_are_refused(text: str, pushed: Path, tmp_path: Path) -> None:
    folder = copied(pushed, tmp_path)
    (folder / pack.CURVES).write_text(text)
    with pytest.raises(UserError, match="its weights are damaged"):
        pack.unpack(folder, {"weights": ["model.safetensors"]}, ("0" * 16,), Store(tmp_path / "in"))


def test_what_only_trains_stays_at_home(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = reopened(shelf[1], shelf[0])
    model = Run(prepared, shelf[0], torch.device("cpu")).model
    model.chain["noise"].register_buffer("centres", torch.ones(3))
    assert pack.unread(model) == {"chain.noise.centres"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["push", "nokey", "somewhere"], "has a key that begins with 'nokey'"),
        (["push", "KEY", "FULL"], "is not empty; choose another folder"),
        (["push", "KEY", "s3://bucket/x"], "is neither a folder nor hf://owner/name"),
        (["pull", "nowhere"], "has no splitpriv.json; name a folder that `splitpriv push` made"),
        (["pull", "hf://owner"], "is neither a folder nor hf://owner/name"),
        (["pull", "hf://owner/name"], "the hub did not answer as hoped (no route"),
        (["push", "KEY", "hf://owner/name"], "the hub did not answer as hoped (no route"),
    ],
)
def test_bad_input_is_one_line(words: list[str], told: str, shelf: Shelf, tmp_path: Path, capsys: Any,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to the hub\nwith a second line")

    offline = types.SimpleNamespace(snapshot_download=unreachable, HfApi=unreachable)
    monkeypatch.setitem(sys.modules, "huggingface_hub", offline)  # type: ignore[arg-type]
    monkeypatch.setattr(hub, "find_spec", lambda name: True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    named = {"KEY": shelf[1]["key"], "FULL": str(tmp_path / "full")}
    assert cli.main([*(named.get(w, w) for w in words), f"paths.outputs={shelf[0].root}"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert told in said


def test_a_hub_without_its_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs huggingface_hub.*pip install 'splitpriv\[hub\]'"):
        hub.place("hf://owner/name", "push")
    with pytest.raises(UserError, match="neither a folder"):
        hub.place("hf://owner/name/../../x", "pull")


def test_to_the_hub_and_back(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub's library is asked, without a hub."""
    asked: dict[str, Any] = {}

    class Api:
        def create_repo(self, name: str, **how: Any) -> None:
            asked["made"] = (name, how)

        def upload_folder(self, **how: Any) -> str:
            asked["sent"] = how
            return "https://hub/owner/name"

    def fetch(name: str, **how: Any) -> str:
        asked["fetched"] = (name, how["revision"])
        return str(shutil.copytree(pushed, how["local_dir"]))

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(HfApi=Api, snapshot_download=fetch))  # type: ignore[arg-type]
    monkeypatch.setattr(hub, "find_spec", lambda name: True)
    to = hub.place("hf://owner/name@v1", "push")
    assert hub.upload(pushed, to) == "https://hub/owner/name" and asked["made"][1]["private"] is True
    assert pack.manifest(hub.download(to, tmp_path / "got"))["key"] and asked["fetched"] == ("owner/name", "v1")
