"""What is sent in: an attack is scored on the frozen victims, a bad file is refused in a line, and no code is run."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import invented
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from torch import Tensor

from splitpriv.board import attack, entries, kept, model
from splitpriv.commands import cli
from splitpriv.contract.base import SMALL
from splitpriv.deploy import hub, pack
from splitpriv.run.prepare import from_overrides
from splitpriv.run.row import head
from splitpriv.store import Store
from splitpriv.types import UserError

BOARD, ROWS = (Path(__file__).parents[2] / name for name in ("board", "results/board"))
ABOUT = {"name": "theirs", "by": "somebody", "source": "https://example.org/paper"}


@pytest.fixture(scope="module")
def row() -> dict[str, Any]:
    """A row of which nothing was trained: its settings name its victims."""
    told = head(from_overrides(list(SMALL)))
    reached = {"privacy/decoder/mse": 0.02, "privacy/suite/mse": 0.02, "picture/decoder": "measure/0/grid.png"}
    return {**told, **reached, "suite": "autoinvert-1 quick", "victims": 8, "stages": []}


@pytest.fixture(scope="module")
def x(row: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return attack.frozen(row, Store(tmp_path_factory.mktemp("store")), []).victims.x(slice(None))


@pytest.fixture
def rebuilt(x: Tensor) -> np.ndarray:
    return (x.numpy() + 0.05 * np.random.default_rng(0).standard_normal(x.shape)).clip(0, 1).astype(np.float32)


Send = Callable[..., str]


@pytest.fixture
def send(row: dict[str, Any], x: Tensor, tmp_path: Path) -> Send:
    """Write a file and have it scored; `whole`: by the command's way, which reads the data anew."""

    def sent(images: np.ndarray, ending: str = ".safetensors", whole: bool = False, **more: str) -> str:
        told = {"row": row["key"], "victims": attack.digest(x), **more}
        path = tmp_path / f"theirs{ending}"
        if ending == ".npz":
            np.savez(path, **{attack.TENSOR: images}, **{k: np.array(v) for k, v in told.items()})
        else:
            save_file({attack.TENSOR: np.ascontiguousarray(images)}, path, metadata=told)
        if whole:
            return attack.submit(path, ABOUT, [row], Store(tmp_path / "store"), tmp_path / "board", [])
        read = attack.read(path)
        return str(attack.scored(read, attack.find(read.row, [row]), x, "reflect", path.name))

    return sent


# ---- attacks -------------------------------------------------------------------------------------------------------


def test_a_stronger_attack_lowers_the_best_known(
    send: Send, rebuilt: np.ndarray, x: Tensor, row: dict[str, Any], tmp_path: Path
) -> None:
    assert "lowers what is known" in send(rebuilt, whole=True)
    found = entries.read(tmp_path / "board")
    mse = float(((rebuilt - x.numpy()) ** 2).mean())
    assert found.attacks["theirs"]["mse"] == pytest.approx(mse, rel=1e-4) and mse < 0.02
    assert found.reached([row]) == {row["key"]: {"theirs": found.attacks["theirs"]["mse"]}}
    with pytest.raises(UserError, match="there is an entry of that name"):
        send(rebuilt, ".npz", whole=True)


def test_both_formats_hold_the_same(send: Send, rebuilt: np.ndarray) -> None:
    assert send(rebuilt) == send(rebuilt, ".npz") != send(np.full_like(rebuilt, 0.9))


BAD: dict[str, tuple[Callable[[np.ndarray], np.ndarray], dict[str, str], str]] = {
    "other victims": (lambda r: r, {"victims": "0" * 64}, "is of other victims than row"),
    "above 1": (lambda r: r + 1, {}, "give [0, 1]"),
    "below 0": (lambda r: r - 0.5, {}, "give [0, 1]"),
    "bytes": (lambda r: r * 255, {}, "give [0, 1]"),
    "NaN": (lambda r: np.where(r > 0.5, np.nan, r).astype(np.float32), {}, "hold NaN or infinite"),
    "infinite": (lambda r: np.where(r > 0.5, np.inf, r).astype(np.float32), {}, "hold NaN or infinite"),
    "fewer": (lambda r: r[1:], {}, "and these victims are (8, 1, 8, 8)"),
    "flat": (lambda r: r.reshape(len(r), -1), {}, "and these victims are"),
    "channels last": (lambda r: r.transpose(0, 2, 3, 1), {}, "and these victims are"),
    "float64": (lambda r: r.astype(np.float64), {}, "give float32"),
    "uint8": (lambda r: (r * 255).astype(np.uint8), {}, "give float32"),
    "unknown row": (lambda r: r, {"row": "abcdabcdabcdabcd"}, "is no row of this board"),
    "empty row": (lambda r: r, {"row": ""}, "is no row of this board"),
}  # fmt: skip


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_attack_is_refused_in_a_line(case: str, ending: str, send: Send, rebuilt: np.ndarray) -> None:
    change, told, said = BAD[case]
    with pytest.raises(UserError) as error:
        send(change(rebuilt), ending, **told)
    assert len(error.value.problems) == 1 and said in error.value.problems[0] and "\n" not in str(error.value)


def test_the_victims_themselves_are_no_reconstructions(send: Send, x: Tensor) -> None:
    with pytest.raises(UserError, match="8 of 8 reconstructions are the victims themselves"):
        send(x.numpy().astype(np.float32))


def test_some_perfect_reconstructions_are_no_copies(send: Send, rebuilt: np.ndarray, x: Tensor) -> None:
    some = np.concatenate([x[:4].numpy().astype(np.float32), rebuilt[4:]])
    assert "mse" in send(some)


def test_an_entry_is_held_against_its_row_its_data_and_its_file(
    send: Send, rebuilt: np.ndarray, row: dict[str, Any], tmp_path: Path
) -> None:
    send(rebuilt, whole=True)
    folder, store = tmp_path / "board", Store(tmp_path / "store")
    entry = entries.read(folder).attacks["theirs"]
    assert attack.again(entry, [row], store, folder, [])
    for change, said in (({"mse": 0.0}, "mse is 0, and theirs.safetensors scores 0.00"), ({"count": 4}, "count is 4"),
                         ({"fit": ["0" * 16]}, "fit is"), ({"frozen": "0" * 64}, "frozen is"), ({"queries": 16}, "16"),
                         ({"victims": "0" * 64}, "other images"), ({"file": "0" * 64}, "not the file")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            attack.again({**entry, **change}, [row], store, folder, [])
    (folder / "attacks" / "theirs.safetensors").unlink()
    assert not attack.again(entry, [row], store, folder, [])


class Boom:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("code was run",)


def test_files_that_may_hold_code_or_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"row": "a", "victims": "b"}
    np.savez(tmp_path / "objects.npz", reconstructions=np.array([Boom()], dtype=object), row="a", victims="b")
    (tmp_path / "pickled.pt").write_bytes(pickle.dumps(Boom()))
    (tmp_path / "pickled.safetensors").write_bytes(pickle.dumps(Boom()))
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "garbage.npz").write_bytes(b"PK garbage")
    save_file({"reconstructions": np.zeros((1, 1), np.float32)}, tmp_path / "bare.safetensors")
    save_file({"images": np.zeros((1, 1), np.float32)}, tmp_path / "named.safetensors", {"row": "a", "victims": "b"})
    save_torch({"reconstructions": torch.zeros(8, 1, 8, 8, dtype=torch.bfloat16)}, tmp_path / "brain.safetensors", told)
    save_torch({"reconstructions": torch.zeros(8).to(torch.float8_e4m3fn)}, tmp_path / "eight.safetensors", told)
    save_file({"reconstructions": np.zeros((), np.float32)}, tmp_path / "scalar.safetensors", told)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("reconstructions.npy", bytes(10**6))
    said = {"objects.npz": "is not an .npz without objects", "pickled.pt": "is neither .safetensors nor .npz",
            "pickled.safetensors": "is not a safetensors file", "empty.safetensors": "is not a safetensors file",
            "garbage.npz": "is not an .npz", "bare.safetensors": "lacks row and victims", "absent.npz": "no such file",
            "named.safetensors": "lacks reconstructions", "brain.safetensors": "are BF16; give float32",
            "eight.safetensors": "are F8_E4M3; give float32", "scalar.safetensors": "are (); give (victims, C, H, W)",
            "bomb.npz": "unpacks to"}  # fmt: skip
    monkeypatch.setattr(attack, "MOST", 900_000)
    for name, why in said.items():
        with pytest.raises(UserError) as error:
            attack.read(tmp_path / name)
        assert why in str(error.value) and len(error.value.problems) == 1


def test_the_command_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = invented.written(tmp_path / "rows.jsonl", invented.rows(1)[:1])
    words = ["--name", "a", "--by", "b", "--source", "https://c.org", "--rows", str(rows)]
    (tmp_path / "a.pkl").write_bytes(b"")
    for kind, what in (("attack", tmp_path / "a.pkl"), ("model", tmp_path), ("model", tmp_path / "none")):
        assert cli.main(["board", "submit", kind, str(what), *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


# ---- models --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"defense.noise._target_": "lantern.Noise"}, "is lantern.Noise, which is not splitpriv's"),
        ({"backbone._target_": "splitpriv.nets.own.Module", "backbone.name": "a:b"}, "backbone.name reads a network"),
        ({"backbone._target_": "splitpriv.nets.small.tiny", "backbone.weights": "a.pth"}, "backbone.weights reads"),
    ],
)
def test_a_model_that_brings_code_is_refused(entry: dict[str, str], said: str, row: dict[str, Any]) -> None:
    model.require_ours(row, "there")
    with pytest.raises(UserError, match=said):
        model.require_ours({**row, **entry}, "there")


# ---- entries -------------------------------------------------------------------------------------------------------


def test_the_schema_is_that_of_the_code() -> None:
    assert json.loads((BOARD / entries.SCHEMA).read_text()) == entries.schema()


def test_every_committed_entry_keeps_the_schema() -> None:
    found = entries.read(BOARD)
    assert {row["key"] for row in found.rows()} >= {each["row"] for each in found.models.values()}
    assert {path.stem for path in (BOARD / "attacks").iterdir()} == {*found.attacks}
    for name in found.models:
        assert sum(path.stat().st_size for path in (BOARD / "models" / name).iterdir()) < 1.2 * entries.WEIGHTS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mse": -1}, "greater than or equal to 0"), ({"mse": None}, "valid number"), ({"name": "../x"}, "pattern"),
        ({"source": "javascript:alert(1)"}, "pattern"), ({"extra": 1}, "extra inputs"), ({"kind": "code"}, "tag"),
        ({"source": "docs/../secret"}, "pattern"), ({"source": 'https://a.org/"x'}, "pattern"),
        ({"by": "two\nlines"}, "pattern"), ({"by": " "}, "pattern"), ({"mse": "0.1"}, "valid number"),
        ({"mse": True}, "valid number"), ({"queries": "1"}, "valid integer"), ({"fit": []}, "at least 1 item"),
        ({"count": 10**30}, "less than or equal"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_told(change: dict[str, Any], said: str) -> None:
    told = {"kind": "attack", **ABOUT, "row": "0" * 16, "fit": ["0" * 16], "frozen": "0" * 64, "victims": "0" * 64,
            "file": "0" * 64, "queries": 1, "count": 8, "mse": 0.1, "ssim": 0.5}  # fmt: skip
    assert entries.checked(told, "theirs").name == "theirs"
    with pytest.raises(UserError, match=said):
        entries.checked({**told, **change}, "theirs")


def test_what_is_no_entry_and_no_file_of_rows_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "attacks").mkdir()
    for text, said in (
        ("[" * 100_000, "is no JSON"),
        ('{"mse": 0.5, "mse": 0.1}', "a key stands twice"),
        ("null", "dictionary"),
    ):
        (tmp_path / "attacks" / "x.json").write_text(text)
        with pytest.raises(UserError, match=rf"^board attacks/x\.json: .*{said}"):
            entries.read(tmp_path)
    (tmp_path / "attacks" / "y.json").write_text("{")
    with pytest.raises(UserError, match=r"(?s)x\.json.*y\.json: is no JSON"):
        entries.read(tmp_path)
    (tmp_path / "rows.jsonl").write_bytes("{}".encode("utf-16"))
    with pytest.raises(UserError, match=r"is no text"):
        kept.read([tmp_path / "rows.jsonl"])


def test_releases_go_where_no_folder_is_yet(
    row: dict[str, Any], x: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SimpleNamespace(releases=lambda draw: x, victims=SimpleNamespace(x=lambda index: x))
    monkeypatch.setattr(attack, "reopened", MagicMock())
    monkeypatch.setattr(attack, "Run", lambda *_: run)
    out = tmp_path / "new" / "folder" / "r.safetensors"
    assert attack.write_releases(row, Store(tmp_path), out, []) == len(x) and out.is_file()


def test_a_row_without_a_run_and_a_page_that_is_not_there(
    send: Send, rebuilt: np.ndarray, row: dict[str, Any], tmp_path: Path
) -> None:
    send(rebuilt)
    for about, rows, said in ((ABOUT, [{**row, "fit": []}], "is no run"),
                              ({**ABOUT, "source": "docs/none.md"}, [row], "there is no docs/none.md")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            attack.submit(tmp_path / "theirs.safetensors", about, rows, Store(tmp_path), tmp_path / "board", [])


def test_every_committed_attack_is_that_of_its_row(tmp_path: Path) -> None:
    found, rows = entries.read(BOARD), kept.read(sorted(ROWS.glob("*.jsonl")))
    for name, entry in found.attacks.items():
        if not attack.again(entry, rows, Store(tmp_path), BOARD, []):
            print(f"{name}: its reconstructions are not kept here, and were not scored again")


def fetched(home: Path) -> tuple[float, float]:
    """`model.again`, or a skip where the weights lie on a hub that is out of reach."""
    try:
        return model.again(home, [])
    except UserError as error:
        if "hub" not in str(error):
            raise
        pytest.skip(str(error))


def test_a_model_whose_weights_are_not_here_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed model, as if it were above 1 MB."""
    small, home = BOARD / "models" / "noise_005", tmp_path / "noise_005"
    home.mkdir()
    entry = json.loads((small / entries.ENTRY).read_text())
    (home / entries.ENTRY).write_text(json.dumps({**entry, "link": "hf://owner/name", "source": "hf://owner/name"}))
    shutil.copy(small / entries.ROWS, home)
    asked = []
    monkeypatch.setattr(hub, "place", lambda word, command: asked.append(word) or hub.Place(None, "owner/name"))
    monkeypatch.setattr(hub, "download", lambda source, into: Path(shutil.copytree(small, into)))
    row = pack.row_of(small, pack.manifest(small))
    monkeypatch.setattr(model, "opened", lambda folder, out, overrides: (row, Store(out)))
    told = {"victims": 200, "privacy/gallery/mse": 0.5}
    monkeypatch.setattr(model, "attacked", lambda row, store, attack, overrides: told)
    assert fetched(home) == (entry["quick"]["mse"], 0.5) and asked == ["hf://owner/name"]
    told["victims"] = 100
    with pytest.raises(UserError, match="had 200 victims, and has 100"):
        fetched(home)
    (home / entries.ROWS).write_text("")
    with pytest.raises(UserError, match="not of the model that was attacked"):
        fetched(home)

    def away(source: Any, into: Path) -> Path:
        raise UserError("pull hf://owner/name: the hub did not answer as hoped")

    monkeypatch.setattr(hub, "download", away)
    with pytest.raises(pytest.skip.Exception, match="the hub did not answer"):
        fetched(home)


@pytest.mark.slow
@pytest.mark.parametrize("home", sorted((BOARD / "models").glob("*/")), ids=lambda p: p.name)
def test_a_committed_model_gives_its_numbers_again(home: Path) -> None:
    said, found = fetched(home)
    assert found == pytest.approx(said, rel=model.TOLERANCE)
    assert kept.read([home / entries.ROWS])
