"""Tables of people's own images in every usual form; what is wrong is said with the row."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from own import own, put, refusal, write

from splitpriv.data.labels import alike, missing
from splitpriv.data.reading import Reading
from splitpriv.types import UserError

ROWS = ("file,label", "a/0.png,x", "a/1.png,x", "b/0.png,y", "b/1.png,y")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return put(tmp_path / "mine", "a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/one, two.png")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_delimiter_in_every_encoding(root: Path, delimiter: str, encoding: str) -> None:
    data = own(write(root, [row.replace(",", delimiter) for row in ROWS], encoding=encoding))
    assert (data.classes, len(data.found.files), data.spec.attributes) == (["x", "y"], 4, {})


def test_spreadsheets_and_windows(root: Path) -> None:
    big = codecs.BOM_UTF16_BE + "\n".join(ROWS).encode("utf-16-be")
    (root / "big.csv").write_bytes(big)
    assert own(root / "big.csv").classes == ["x", "y"]
    rows = ["sep=;", "FILE; Label ;", "a\\0.png;x;", '"b/one, two.png";y;', "", " ; ;"]
    data = own(write(root, [row + "\r" for row in rows]), test_share=0.0)
    assert [file.name for file in data.found.files] == ["0.png", "one, two.png"]
    assert data.reading.notes[0] == "backslashes in 1 paths are read as slashes"


def test_a_split_column_speaks_as_folders_do(root: Path) -> None:
    rows = ["file,label,Split", "a/0.png,x,Training", "b/0.png,y,train", "a/1.png,x,valid", "b/1.png,y,VAL"]
    data = own(write(root, rows))
    assert data.reading.counts == {"train": {"x": 1, "y": 1}, "test": {"x": 1, "y": 1}}
    assert "val is the test pool" in data.reading.notes
    said = refusal(write(root, [*rows, "b/0.png,y,later", "b/0.png,y,2"]))
    assert "column split, holds 'later' (row 6), '2' (row 7); write train, val or test" in said
    assert "but no train" in refusal(write(root, ["file,label,split", "a/0.png,x,val", "b/0.png,y,test"]))


@pytest.mark.parametrize("empty", ["", " ", "NaN", "<NA>", "#N/A", "null"])
def test_rows_without_a_label_are_left_out_and_said(root: Path, empty: str) -> None:
    data = own(write(root, [*ROWS, f"b/1.png,{empty}", f'"b/0.png","{empty}"']))
    assert data.classes == ["x", "y"]
    assert data.reading.skipped == {"rows without a value in the column label": 2}
    assert data.reading.examples["rows without a value in the column label"] == ["row 6", "row 7"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("file,label,label", "a/0.png,x,y"), "has the column label twice"),
        (("file,Label,label", "a/0.png,x,y"), "has the column label twice"),
        (("file,label,eyes,eyes", "a/0.png,x,y,z"), "has the column eyes twice"),
        (("name,class", "a/0.png,x"), "lacks the columns file, label or identity in its first line, which reads '"),
        (("file,label", "a/0.png,x", "a/1.png", "b/0.png,y,z"), "row 3 has 1, row 4 has 3 of 2 values"),
        (("file,label,eyes", "a/0.png,x,blue", "b/0.png,y,"), "column eyes, has no value in row 3"),
        (("file,label", ",x"), "column file, has no value in row 2"),
        (("file,label", "a/0.png,x", 'b/0.png,"y'), "is not a readable CSV: unexpected end of data"),
        (("file,label", "a/0.png,x\0", "b/0.png,y"), "a NUL character in line 2"),
        ((*ROWS, "\\" + "a" * 300 + ".png,y"), "is missing; replace"),
        ((*ROWS, *(f"c/{i}.png,y" for i in range(30))), "and 10 more are missing; replace"),
        (("file,label,subset", "a/0.png,x,train", "b/0.png,y,test"), "subset, holds test, train, which are names of"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_row(root: Path, rows: tuple[str, ...], said: str) -> None:
    assert said in refusal(write(root, rows))


def test_other_encodings_are_refused(root: Path) -> None:
    said = refusal(write(root, [*ROWS, "b/1.png,größer"], encoding="cp1252"))
    assert "no utf-8 at byte" in said
    assert "save it as UTF-8" in said


def test_columns_that_only_look_like_ours_are_attributes(root: Path) -> None:
    rows = [",file,label,pool,gallery", "0,a/0.png,x,yes,met", '1,"b/one, two.png", "y",no,tate']
    data = own(write(root, rows), test_share=0.5)
    assert data.spec.attributes == {"pool": 2, "gallery": 2}
    assert data.classes == ["x", "y"]
    pools = data.pools(root / "cache")
    assert sorted(int(split.attributes["gallery"]) for split in pools.values()) == [0, 1]
    assert "1 columns without a name are left out" in data.reading.notes
    assert "every image has a value of its own in pool, which counts as an attribute" in data.reading.notes


def same(*values: str, letter_case: str = "refuse") -> list[str]:
    return alike(values, letter_case, "label", Reading())  # type: ignore[arg-type]


def test_labels_are_what_they_mean() -> None:
    assert same("1", "1.0", " 1", "01", "+1", "2", "-0", "0") == ["1", "1", "1", "1", "1", "2", "0", "0"]
    assert same("1", "1.0", "one") == ["1", "1", "one"]
    assert same("1", "True", "no", "0", "yes") == ["1", "1", "0", "0", "1"]
    assert same("x", "x\u200b", "\ufeffx") == ["x"] * 3
    assert len(set(same("12345678901234567890123456789012345678901", "12345678901234567890123456789012345678902"))) == 2
    assert same("True", "TRUE", "false") == ["TRUE", "TRUE", "false"]
    assert same("grey  cat", " grey cat") == ["grey cat"] * 2
    assert len(set(same("café", "café"))) == 1  # composed and decomposed
    assert same("A", "a", letter_case="keep") == ["A", "a"]
    assert len(set(same("Cat", "CAT", "dog", letter_case="ignore"))) == 2
    with pytest.raises(UserError, match=r"dataset\.letter_case: label CAT and Cat differ by case alone"):
        same("Cat", "CAT", "dog")
    reading = Reading()
    alike(["1", "1.0"], "refuse", "label", reading)
    assert reading.notes == ["label 1 and 1.0 are one"]
    assert [value for value in ("", "none", "NA", "0", " nan ") if missing(value)] == ["", " nan "]
