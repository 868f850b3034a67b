"""`splitpriv data describe`: what was read, what was not, and a picture of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from splitpriv.commands import cli
from splitpriv.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from own import put
from small import DECODER, SMALL


def test_describe_prints_what_was_read_with_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = put(tmp_path / "my data, (copy) [1] = é", "train/a/0.png", "train/b/0.png", "val/a/0.png", "val/.x/0.png")
    assert cli.main(["data", "describe", str(root), "dataset.size=16", f"paths.data={tmp_path / 'cache'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "layout: class folders below train/ (train), val/ (val)"
    assert lines[1] == "train: 2 images, 2 classes: a 1, b 1"
    assert lines[2] == "test: 1 images, 1 classes: a 1"
    assert "not read: 1 hidden files and folders (val/.x)" in lines
    assert "note: val is the test pool" in lines
    assert "files: PNG RGB 3; 8x8 pixels; values from 50 to 200" in lines
    page = Image.open(lines[-1].removeprefix("picture: "))
    assert page.getpixel((8 + 30, 8 + 14 + 30)) == (200, 100, 50)


def test_run_and_check_say_what_was_read_and_the_row_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{pool}/{c}/{i}.png" for pool in ("train", "val") for c in "ab" for i in range(16)]
    root = put(tmp_path / "mine", *names, "val/.x/0.png")
    words = [*SMALL, "dataset=images", f"dataset.path={root}", "dataset.size=8", "dataset.flip=false", *DECODER,
             "protocol.duplicates=flag",
             f"paths.outputs={tmp_path / 'out'}", f"paths.data={tmp_path}"]  # fmt: skip
    words = [word for word in words if word not in ("dataset=gaussian", "dataset.samples=400")]
    for command in ("check", "run"):
        assert cli.main([command, *words]) == 0
        said = capsys.readouterr().err
        assert "splitpriv: data: train: 32 images, 2 classes: a 16, b 16" in said
        assert "splitpriv: data: not read: 1 hidden files and folders (val/.x)" in said
    (row,) = Store(tmp_path / "out").rows()
    assert row["data/train"] == row["data/test"] == {"a": 16, "b": 16}
    assert row["data/skipped"] == {"hidden files and folders": 1}
    twice = "1 pictures are there under several labels (0.png of a and 0.png of b)"
    assert row["data/notes"] == ["val is the test pool", twice]
    assert row["data/files"]["kinds"] == {"PNG RGB": 64}


def test_describe_names_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "describe", "nowhere"]) == 2
    assert "there is no folder or table nowhere" in capsys.readouterr().err
    assert cli.main(["data", "describe", "gaussian", "dataset.samples=20"]) == 0
    assert "train: 16 images, 2 classes" in capsys.readouterr().out
