import errno

import numpy as np
import pytest
import torch
from own import own as images
from own import put, refusal, write
from PIL import Image

from splitpriv.data import decode
from splitpriv.types import UserError

COLOURS = {"cat": (250, 0, 0), "dog": (0, 250, 0)}


def tree(path, per_class=4):
    for name, colour in COLOURS.items():
        (path / name / "nested").mkdir(parents=True)
        for i in range(per_class):
            where = path / name / ("nested" if i % 2 else "")
            Image.new("RGB", (10 + i, 30), colour).save(where / f"{i}.{'JPG' if i == 1 else 'png'}")
        (path / name / "notes.txt").write_text("no image")
    return path


@pytest.fixture
def folder(tmp_path):
    return tree(tmp_path / "mine")


@pytest.fixture
def table(tmp_path):
    tree(tmp_path / "files")
    rows = ["file,label,eyes,hat"]
    for name in COLOURS:
        rows += [f"files/{name}/0.png,{name},blue,no", f"files/{name}/2.png,{name},brown,no"]
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "mine.csv"


def test_no_attribute_is_called_as_the_label_is(tmp_path, table):
    table.write_text(table.read_text().replace("eyes", "y"))
    for path, changes in ((table, {}), (table.parent / "files", {"pattern": r"(?P<y>(?P<label>[^/]+))/[^/]+$"})):
        with pytest.raises(UserError, match=r"^\.attributes: y is what the task's label is called .*; rename that"):
            images(path, **changes)
    assert list(images(table, attributes=("hat",)).spec.attributes) == ["hat"]


def test_a_class_per_folder(folder, tmp_path):
    data = images(folder)
    assert (data.spec.image, data.spec.classes, data.spec.attributes) == ((3, 8, 8), 2, {})
    pools = data.pools(tmp_path / "data")
    assert [len(pools["train"]), len(pools["test"])] == [6, 2]
    ids = torch.cat([pools["train"].ids, pools["test"].ids])
    assert ids.tolist() == list(range(8))
    for split in pools.values():
        expected = torch.tensor(list(COLOURS.values()))[split.y]
        assert (split.images[:, :, 4, 4].int() - expected).abs().max() < 5


def test_train_and_test_folders_are_the_pools(tmp_path):
    tree(tmp_path / "mine/train", 3)
    tree(tmp_path / "mine/test", 1)
    pools = images(tmp_path / "mine").pools(tmp_path)
    assert [len(pools["train"]), len(pools["test"])] == [6, 2]
    assert pools["train"].y.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_table_with_attributes(table, tmp_path):
    data = images(table, attributes=("eyes",))
    assert data.spec.attributes == {"eyes": 2}
    assert images(table).spec.attributes == {"eyes": 2, "hat": 1}
    pools = data.pools(tmp_path)
    eyes = torch.cat([pools[name].attributes["eyes"] for name in ("train", "test")])
    assert eyes.sum() == 2
    rows = ["files/cat/0.png,cat,test", "files/dog/0.png,dog,train", "files/cat/2.png,cat,train"]
    table.write_text("\n".join(["file,label,split", *rows]) + "\n")
    pools = images(table).pools(tmp_path)
    assert (pools["train"].y.tolist(), pools["test"].y.tolist()) == ([1, 0], [0])


def test_the_centre_square_is_kept(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = np.random.RandomState(0).randint(0, 255, (8, 8, 3))
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "mine" / name / "0.png")
    split = images(tmp_path / "mine", test_share=0.0).pools(tmp_path)["train"]
    assert np.array_equal(split.images[0].permute(1, 2, 0).numpy(), pixels[:, 4:12])
    assert images(tmp_path / "mine", channels=1).pools(tmp_path)["train"].images.shape[1:] == (1, 8, 8)


def test_the_cache_is_used_until_a_file_changes(folder, tmp_path, monkeypatch):
    count = []
    real = decode.pixels.read
    monkeypatch.setattr(decode.pixels, "read", lambda *args: count.append(1) or real(*args))
    first = images(folder).pools(tmp_path)
    assert len(count) == 8
    again = images(folder, seed=0).pools(tmp_path)
    assert len(count) == 8
    assert torch.equal(first["train"].images, again["train"].images)
    content = images(folder).content(tmp_path)
    Image.new("RGB", (31, 31), COLOURS["cat"]).save(folder / "cat" / "new.png")
    assert images(folder).content(tmp_path) != content
    images(folder).pools(tmp_path)
    assert len(count) == 17
    for path in (tmp_path / ".cache").glob("*.npy"):  # killed while writing, or damaged since
        path.write_bytes(path.read_bytes()[:-1])
    assert len(images(folder).pools(tmp_path)["train"]) == 7
    assert len(count) == 26


def test_large_sets_stay_on_the_disk_and_read_the_same(folder, tmp_path, monkeypatch):
    small = images(folder).pools(tmp_path)["train"]
    monkeypatch.setattr(decode, "RESIDENT", 0)
    large = images(folder).pools(tmp_path)["train"]
    assert type(large).__name__ == "Mapped"
    assert isinstance(np.load(next((tmp_path / ".cache").glob("*.npy")), mmap_mode="r"), np.memmap)
    index = torch.tensor([3, 0])
    for a, b in ((small, large), (small.take(index), large.take(index)), (small, large.to("cpu"))):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.x(torch.tensor([1, 0])), b.x(torch.tensor([1, 0])))
        assert torch.equal(a.x(slice(0, 2)), b.x(slice(0, 2)))
        assert torch.equal(a.ids, b.ids)
    kept = large.to("cpu", keep_images=True)
    assert type(kept).__name__ == "Mapped"
    assert torch.equal(kept.x(index), small.x(index))


def test_a_folder_that_cannot_be_written_and_a_full_disk(folder, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    assert len(images(folder).pools(blocked)["train"]) == 6

    def full(file, header):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(UserError, match=r"paths\.data: .*No space left on device"):
        images(folder).pools(tmp_path)
    assert not list((tmp_path / ".cache").iterdir())


@pytest.mark.parametrize("damage", [b"", b"no image", b"half"])
def test_an_unreadable_image_is_named(folder, tmp_path, damage):
    path = folder / "cat" / "2.png"
    path.write_bytes(path.read_bytes()[:60] if damage == b"half" else damage)
    with pytest.raises(UserError) as caught:
        images(folder).pools(tmp_path)
    assert str(caught.value).startswith(f"dataset.path: {path} is not a readable image (")
    assert str(caught.value).endswith("replace it, or take it out")
    assert not list((tmp_path / ".cache").iterdir())


def test_wrong_folders_and_tables_name_the_key(folder, table, tmp_path):
    (tmp_path / "empty/a").mkdir(parents=True)
    tree(tmp_path / "single")
    (tmp_path / "lone/cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "lone/cat/0.png")
    for path in sorted((tmp_path / "single/dog").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for bad, words in (
        (lambda: images(tmp_path / "absent"), "dataset.path: .*absent is no folder"),
        (lambda: images(tmp_path / "absent.csv"), "dataset.path: .*absent.csv is missing"),
        (lambda: images(tmp_path / "empty"), "dataset.path: .*no images"),
        (lambda: images(tmp_path / "single"), r"dataset.path: .*without a readable image: dog/ \(empty\)"),
        (lambda: images(tmp_path / "lone"), r"dataset.path: .*one class only \(cat\)"),
        (lambda: images(folder, size=8, value_range=(1.0, 1.0)), "value_range: .*empty"),
        (lambda: images(folder, attributes=("eyes",)), "dataset.attributes: .*has no attributes"),
        (lambda: images(table, attributes=("nose",)), "dataset.attributes: .*has eyes, hat, not nose"),
    ):
        with pytest.raises(UserError, match=words):
            bad()
    for text, words in (
        ("file,eyes\nfiles/cat/0.png,blue\n", "lacks the columns label"),
        ("", "lacks the columns file, label"),
        ("file,label\nfiles/cat/0.png\n", "row 2 has 1 of 2 values"),
        ("file,label\nfiles/cat/9.png,cat\nfiles/dog/0.png,dog\n", "9.png is missing"),
        ("file,label,split\nfiles/cat/0.png,cat,later\nfiles/dog/0.png,dog,train\n", "column split"),
    ):
        table.write_text(text)
        with pytest.raises(UserError, match=words):
            images(table)


def test_what_an_image_is_called_and_where_it_lies_is_not_what_it_is(folder, tmp_path):
    content = images(folder).content(tmp_path)
    assert images(folder.rename(tmp_path / "elsewhere")).content(tmp_path) == content
    first = sorted((tmp_path / "elsewhere" / "cat").iterdir())[0]
    first.rename(first.with_name(f"0{first.name}"))
    assert images(tmp_path / "elsewhere").content(tmp_path) == content
    renamed = first.with_name(f"0{first.name}")
    held = renamed.read_bytes()
    renamed.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))  # as long as it was
    assert images(tmp_path / "elsewhere").content(tmp_path) != content


def test_one_picture_under_two_labels(tmp_path):
    put(tmp_path / "mine", "a/0.png", "b/1.png")
    put(tmp_path / "mine", "b/0.png", colour=(9, 9, 90))
    data = images(tmp_path / "mine")
    data.content(tmp_path)
    assert data.reading.notes[-1] == "1 pictures are there under several labels (0.png of a and 1.png of b)"
    rows = ["file,label", "a/0.png,a", "b/0.png,b", "a/0.png,b"]
    said = refusal(write(tmp_path / "mine", rows))
    assert "a/0.png (a and b) under several labels; keep one" in said
