"""One's own images of people or things that are seen again: identities, cameras, queries and gallery."""

from __future__ import annotations

from pathlib import Path

import torch
from own import own, put, refusal, write

from splitpriv.data.people import _asking


def shots(*who: str, cameras: tuple[str, ...] = ("c1", "c2"), count: int = 2) -> list[str]:
    return [f"{w}/{c}/{i}.png" for w in who for c in cameras for i in range(count)]


def test_identity_and_camera_columns_make_a_set_for_reid(tmp_path: Path) -> None:
    names = shots("ann", "bob", "cy", "dee")
    put(tmp_path, *names)
    rows = [f"{name},{name.split('/')[0]},{name.split('/')[1]}" for name in names]
    data = own(write(tmp_path, ["file,identity,camera", *rows]), test_share=0.5)
    assert data.spec.classes == 4
    assert data.spec.attributes == {"identity": 4, "camera": 2, "gallery": 2}
    pools = data.pools(tmp_path / "cache")
    train, test = pools["train"], pools["test"]
    assert [len(train), len(test)] == [8, 8]
    assert not set(train.y.tolist()) & set(test.y.tolist())  # whole identities
    assert torch.equal(test.y, test.attributes["identity"])
    assert test.attributes["gallery"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert torch.equal(torch.cat([train.ids, test.ids]), torch.arange(16))


def test_folders_say_who_and_by_which_camera(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", *(f"train/{name}" for name in shots("ann", "bob")),
               *(f"query/{name}" for name in shots("cy", count=1)),
               *(f"gallery/{name}" for name in shots("cy", "dee")))  # fmt: skip
    data = own(root, identities=True)
    pools = data.pools(tmp_path / "cache")
    assert [len(pools["train"]), len(pools["test"])] == [8, 10]
    assert pools["test"].attributes["gallery"].sum() == 8
    assert own(root, identities=True, attributes=()).spec.attributes == data.spec.attributes
    assert pools["test"].attributes["camera"].unique().tolist() == [0, 1]
    put(root, "test/ann/c1/9.png")
    assert "1 identities are in training and in the test pool (ann)" in refusal(root, identities=True)
    assert own(root).reading.skipped == {"images in folders beside the pools": 10}


def test_names_of_market1501_by_a_pattern(tmp_path: Path) -> None:
    root = put(tmp_path / "mine", "bounding_box_train/0002_c1s1_0_0.png", "bounding_box_train/0003_c2s1_0_0.png",
               "query/0001_c1s1_0_0.png", "bounding_box_test/0001_c2s1_0_0.png")  # fmt: skip
    data = own(root, identities=True, pattern=r"(?P<identity>\d+)_c(?P<camera>\d+)")
    test = data.pools(tmp_path / "cache")["test"]
    assert sorted(test.attributes["gallery"].tolist()) == [0, 1]
    assert data.spec.attributes == {"identity": 3, "camera": 2, "gallery": 2}


def test_cameras_from_names_or_none(tmp_path: Path) -> None:
    put(tmp_path / "named", *(f"{w}/{w}_c{c}_{i}.png" for w in ("1", "2") for c in (3, 7) for i in range(2)))
    assert own(tmp_path / "named", identities=True).spec.attributes["camera"] == 2
    put(tmp_path / "none", *(f"{w}/{i}.png" for w in ("1", "2") for i in range(3)))
    data = own(tmp_path / "none", identities=True)
    assert data.spec.attributes["camera"] == 3
    assert any("no camera is known" in note for note in data.reading.notes)


def test_who_asks() -> None:
    assert _asking(["a", "a", "a", "b", "b", "c"], ["1", "1", "2", "1", "2", "1"]) == ["0", "1", "1", "0", "1", "0"]


def test_an_identity_beside_a_label_is_held_out_whole(tmp_path: Path) -> None:
    names = shots("ann", "bob", "cy", "dee", cameras=("c",))
    put(tmp_path, *names)
    rows = [f"{name},{'xy'[i % 2]},{name.split('/')[0]}" for i, name in enumerate(names)]
    data = own(write(tmp_path, ["file,label,identity", *rows]))
    assert (data.classes, data.spec.attributes) == (["x", "y"], {"identity": 4})
    pools = data.pools(tmp_path / "cache")
    who = [set(pools[name].attributes["identity"].tolist()) for name in ("train", "test")]
    assert len(who[0]) == 3 and not who[0] & who[1]
