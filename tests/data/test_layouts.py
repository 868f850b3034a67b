"""Folders of people's own images: pools, classes, what is left out, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from own import own, put, refusal

from splitpriv.data.layouts import pool_words

PETS = ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")


def below(folder: str, names: tuple[str, ...] = PETS) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names)


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("train", "train"), ("Training", "train"), ("TRAIN", "train"), ("train_set", "train"), ("trainset", "train"),
        ("TrainingSet", "train"), ("images-train", "train"), ("train2017", "train"), ("val", "val"), ("Valid", "val"),
        ("validation", "val"), ("validation_data", "val"), ("dev", "val"), ("eval", "val"), ("test", "test"),
        ("Testing", "test"), ("test_images", "test"), ("hold-out", "test"), ("holdout", "test"), ("cat", None),
        ("traindir", "train"), ("imagestest", "test"),
        ("training_shoes", None), ("contest", None), ("trains", None), ("set", None),
    ],
)  # fmt: skip
def test_pools_in_the_usual_spellings(name: str, pool: str | None) -> None:
    said, rest = pool_words(name)
    assert (said if not rest else None) == pool


@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "val"), ("Training", "Validation"), ("TRAIN", "TEST"), ("train", "valid"), ("seg_train", "seg_test"),
     ("train_images", "test_images"), ("mine/train", "mine/eval"), ("train/train", "test/test"),
     ("archive/data/train", "archive/data/test"), ("seg_train/seg_train", "seg_test/seg_test")],
)  # fmt: skip
def test_two_pools_are_never_classes(tmp_path: Path, train: str, test: str) -> None:
    put(tmp_path / "mine", *below(train), *below(test, PETS[:3]))
    data = own(tmp_path / "mine")
    assert data.classes == ["cat", "dog"]
    assert data.reading.counts == {"train": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 1}}
    pools = data.pools(tmp_path / "cache")
    assert [len(pools["train"]), len(pools["test"])] == [4, 3]


def test_a_third_pool_joins_training_and_is_said(tmp_path: Path) -> None:
    put(tmp_path / "mine", *below("train"), *below("valid", PETS[:1]), *below("test", PETS[2:3]), *below("extra"))
    reading = own(tmp_path / "mine").reading
    assert reading.counts == {"train": {"cat": 3, "dog": 2}, "test": {"dog": 1}}
    assert "val joins the train pool" in reading.notes
    assert "no image in the test pool of cat" in reading.notes
    assert reading.skipped == {"images in folders beside the pools": 4}


def test_folders_within_classes_are_said(tmp_path: Path) -> None:
    data = own(put(tmp_path / "mine", *below("north"), *below("south")))
    said = (
        "8 images in folders within class folders count as of that class (north/cat, north/dog, south/cat and 1 more)"
    )
    assert said in data.reading.notes


def test_pools_within_classes(tmp_path: Path) -> None:
    put(tmp_path / "mine", *(f"{c}/{p}/{i}.png" for c in ("cat", "dog") for p in ("train", "test") for i in "01"))
    assert own(tmp_path / "mine").reading.counts == {"train": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}}
    put(tmp_path / "mine", "cow/0.png")
    assert "pools within class folders, but cow lies in none" in refusal(tmp_path / "mine")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cat/0.png", "dog/0.png", "train/0.png"), "holds train beside cat, dog: pools or classes?"),
        (("cat/0.png", "dog/0.png", "val/0.png"), "holds val beside cat, dog: pools or classes?"),
        (("test/cat/0.png", "val/cat/0.png"), "holds test, val and no training images"),
        (("fold1/a/0.png", "fold2/a/0.png"), "fold1, fold2, which are named like parts of one set"),
        (("trainfaces/a/0.png", "testfaces/a/0.png"), "holds testfaces, trainfaces: pools or classes?"),
        (("tr/a/0.png", "te/a/0.png"), "holds te, tr: pools or classes?"),
        (("Set1/0.png", "Set2/0.png"), "named like parts of one set"),
        (("part1/0.png", "part2/0.png"), "named like parts of one set"),
        (("cat_train/0.png", "cat_test/0.png", "dog_train/0.png"), "pools or classes?"),
        (("a/x/train/0.png", "a/x/test/0.png", "b/x/test/0.png"), "pools deep within class folders"),
        (("train/a/0.png", "train/b/0.png", "test/0.png", "test/1.png"), "test holds 2 images and no class folder"),
        (("train/0.png", "test/a/0.png"), "train holds 1 images and no class folder"),
        (("train/a/0.png", "train/b/0.png", "test/c/0.png"), "no class of the test pool (c) is one of training (a, b)"),
        (("0.png", "1.png"), "2 images lie in"),
        (("20_0_1_2017.jpg.chip.jpg", "21_1_1_2018.jpg.chip.jpg"), "use dataset=utkface"),
        (("Cat/0.png", "cat/0.png"), "dataset.letter_case: label Cat and cat differ by case alone"),
        (("val/images/0.png", "train/a/images/0.png"), "use dataset=tiny_imagenet"),
    ],
)  # fmt: skip
def test_what_could_be_two_things_is_refused_by_name(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    root = put(tmp_path / "mine", *names)
    if "val/images/0.png" in names:
        (root / "val/val_annotations.txt").write_text("0.png\ta\t0\t0\t1\t1\n")
    assert said in refusal(root)


def test_what_is_refused_can_be_said_to_be_classes(tmp_path: Path) -> None:
    put(tmp_path / "mine", "car/0.png", "train/0.png", "test/0.png", "fold1/0.png")
    assert own(tmp_path / "mine", layout="classes").classes == ["car", "fold1", "test", "train"]


def test_everything_that_is_left_out_is_counted(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", *below("train"), *below("val"), "train/cow.png", "val/cow/0.png", "train/cat/.0.png",
               "train/.ipynb_checkpoints/0.png", "val/cat/.ipynb_checkpoints/0-checkpoint.png", "__MACOSX/cat/0.png",
               "@eaDir/cat/0.png", "test/0.png")  # fmt: skip
    (root / "train/dog/notes.txt").write_text("no image")
    (root / "train/dog/README").write_text("no image")
    (root / "docs").mkdir()
    data = own(root)
    assert data.reading.counts == {"train": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}}
    assert data.reading.skipped == {
        "hidden files and folders": 5, "files that end in .txt, which the decoder does not read": 1,
        "files without an ending, which the decoder does not read": 1, "folders without an image": 1,
        "images beside the folders, without a class": 1, "images of a class that only the test pool has": 1,
        "images of a pool without class folders, hence without labels": 1,
    }  # fmt: skip
    facts, lines = data.reading.facts(), "\n".join(data.reading.lines())
    assert facts["skipped"]["hidden files and folders"] == 5
    assert "not read: 1 images of a class that only the test pool has (cow: 0.png)" in lines
    assert "train: 4 images, 2 classes: cat 2, dog 2" in lines


def test_every_ending_of_the_decoder_counts_and_no_class_is_dropped(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", "a/0.jfif", "a/1.JPE", "b/0.jpeg", "b/1.Png", "c/0.apng")
    assert own(root).reading.counts["train"].keys() | own(root).reading.counts["test"].keys() == {"a", "b", "c"}
    (root / "d").mkdir()
    for name in ("0.heic", "1.HEIC", "2.txt"):
        (root / "d" / name).write_text("")
    assert "d/ (2 x .heic, 1 x .txt); convert" in refusal(root)


def test_names_can_say_all(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", *(f"part{i % 2}/{20 + i}_{i % 2}_{i}_2017.jpg.chip.jpg" for i in range(4)))
    put(root, "part1/39_1_2018.jpg.chip.jpg")  # UTKFace has three such names
    data = own(root, pattern="utkface")
    assert (data.classes, data.spec.attributes) == (["0", "1"], {"age": 4, "race": 4})
    assert data.reading.skipped == {"images whose names do not match dataset.pattern": 1}
    assert own(root, pattern="utkface", attributes=("race",)).spec.attributes == {"race": 4}
    assert "dataset.pattern: is no regular expression" in refusal(root, pattern="(")
    assert "dataset.pattern: has no group label" in refusal(root, pattern="x")
    assert "dataset.pattern: matches none of 5 names" in refusal(root, pattern="(?P<label>zzz)")


def test_a_name_without_a_label_makes_no_class(tmp_path: Path) -> None:
    data = own(put(tmp_path / "mine", "0_a.png", "1_b.png", "c.png"), pattern=r"(?:(?P<label>\d)_)?[a-z]\.png")
    assert data.classes == ["0", "1"]
    assert data.reading.skipped == {"images whose names give no label": 1}


def test_a_folder_per_person_however_deep(tmp_path: Path) -> None:
    names = ("actors/faces/Ann/0.png", "actors/faces/Ann/1.png", "actresses/faces/Bob/0.png", "actresses/Cy/0.png")
    data = own(put(tmp_path / "mine", *names), pattern="folder")
    assert data.classes == ["Ann", "Bob", "Cy"]
