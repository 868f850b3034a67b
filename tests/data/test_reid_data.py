"""The folders of VeRi-776 and Market-1501: who is on which image, what is left out, what is said when it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from splitpriv import config, targets
from splitpriv.data.protocol import Protocol
from splitpriv.data.reid import Reidentification
from splitpriv.types import UserError

MARKET = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0007_c2s1_000500_01.jpg", "0002_c3s1_000451_03.jpg"],
    "query": ["0001_c1s1_001051_00.jpg", "0009_c6s1_000001_00.jpg"],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "0000_c2s1_000151_01.jpg", "0001_c2s1_000301_00.jpg",
        "0001_c1s1_001051_03.jpg", "0009_c5s1_000001_00.jpg",
    ],
}  # fmt: skip
VERI = {
    "image_train": ["0001_c001_00016450_0.jpg", "0003_c020_00016460_0.jpg"],
    "image_query": ["0002_c002_00030600_0.jpg"],
    "image_test": ["0002_c002_00030600_0.jpg", "0002_c003_00084280_0.jpg", "0005_c003_00084280_0.jpg"],
}


def lay_out(home: Path, layout: dict[str, list[str]]) -> Path:
    for folder, names in layout.items():
        (home / folder).mkdir(parents=True)
        (home / folder / "Thumbs.db").write_text("no image")
        for i, name in enumerate(names):
            Image.new("RGB", (6, 12), (10 * i, 0, 0)).save(home / folder / name)
    return home


def dataset(name: str, **changed: Any) -> Reidentification:
    node = config.compose([f"dataset={name}"])["dataset"]
    made: Callable[..., Reidentification] = targets.build({**node, "size": [8, 4], **changed}, "dataset")
    return made()


def problem(make: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as error:
        make()
    return str(error.value)


def test_market_has_disjoint_identities_queries_and_distractors_but_no_junk(tmp_path: Path) -> None:
    lay_out(tmp_path / "market1501", MARKET)
    data = dataset("market1501", train_identities=2, test_identities=2, distractors=2)
    assert data.spec.classes == 5  # one label for all distractors
    assert data.spec.attributes == {"identity": 6, "camera": 6, "gallery": 2}
    pools = data.pools(tmp_path)
    train, test = pools["train"], pools["test"]
    assert train.y.tolist() == train.attributes["identity"].tolist() == [0, 0, 1]
    assert train.attributes["camera"].tolist() == [0, 2, 1]
    assert test.attributes["identity"].tolist() == [2, 3, 4, 5, 2, 2, 3]
    assert test.y.tolist() == [2, 3, 4, 4, 2, 2, 3]
    assert test.attributes["camera"].tolist() == [0, 5, 0, 1, 0, 1, 4]
    assert test.attributes["gallery"].tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert torch.equal(torch.cat([train.ids, test.ids]), torch.arange(10))
    assert train.images.shape == (3, 3, 8, 4)
    assert train.images[:, 0, 0, 0].tolist() == [0, 20, 10]  # red counts the files of a folder as they were listed


def test_the_whole_image_is_stretched(tmp_path: Path) -> None:
    home = lay_out(tmp_path / "market1501", MARKET)
    name = home / "query" / MARKET["query"][0]
    tall = Image.new("RGB", (16, 64))
    tall.paste((250, 250, 250), (0, 0, 16, 16))
    tall.save(name, quality=95)
    test = dataset("market1501", size=[32, 8]).pools(tmp_path)["test"]
    assert float(test.x(slice(0, 1))[0, :, :6].mean()) > 0.9  # a centred square would have lost it
    assert float(test.x(slice(0, 1))[0, :, 12:].mean()) < 0.1


def test_veri_reads_its_lists_and_label_files(tmp_path: Path) -> None:
    home = lay_out(tmp_path / "veri", VERI)
    line = '<Item imageName="{}" vehicleID="1" cameraID="c001" colorID="{}" typeID="{}" />'
    names = [*VERI["image_train"], *VERI["image_test"]]
    items = [line.format(*found) for found in zip(names, (10, 1, 2, 2, 3), (1, 9, 2, 2, 4), strict=True)]
    for pool, part in {"train": items[:2], "test": items[2:]}.items():
        text = '<?xml version="1.0" encoding="gb2312"?>\n<TrainingImages><Items number="9">' + "\n".join(part)
        (home / f"{pool}_label.xml").write_text(text + "</Items></TrainingImages>")
    data = dataset("veri", labels={"color": 10, "type": 9})
    assert data.spec.classes == 776
    assert data.spec.attributes == {"identity": 776, "camera": 20, "gallery": 2, "color": 10, "type": 9}
    pools = data.pools(tmp_path)
    assert pools["train"].attributes["color"].tolist() == [9, 0]
    assert pools["train"].attributes["type"].tolist() == [0, 8]
    assert pools["test"].attributes["color"].tolist() == [1, 1, 1, 2]
    assert pools["test"].y.tolist() == [576, 576, 576, 577]
    assert pools["test"].attributes["camera"].tolist() == [1, 1, 2, 2]
    (home / "name_test.txt").write_bytes(b"0001_c001_\xe9.jpg\n")
    assert "name_test.txt is no UTF-8 text (byte 10)" in problem(lambda: data.pools(tmp_path))
    (home / "name_test.txt").write_text("\n".join(VERI["image_test"][:2]) + "\n")
    assert len(data.pools(tmp_path)["test"]) == 3
    assert "has colorID='10', not 1..9; correct" in problem(
        lambda: dataset("veri", labels={"color": 9}).pools(tmp_path)
    )
    both = problem(lambda: dataset("veri", labels={"color": 1, "type": 8}).pools(tmp_path))
    assert "colorID='10', " in both and "colorID='2'" in both and "has typeID='9', not 1..8" in both
    (home / "test_label.xml").unlink()
    assert "test_label.xml is missing" in problem(lambda: data.pools(tmp_path))


def test_the_protocol_splits_pools_whose_identities_are_apart(tmp_path: Path) -> None:
    lay_out(tmp_path / "market1501", MARKET)
    pools = dataset("market1501").pools(tmp_path)
    protocol: Protocol = targets.build(config.compose(["dataset=market1501"])["protocol"], "protocol")()
    protocol.slices["aux"], protocol.slices["val"] = ("train", 0.4, 0.7), ("train", 0.7, 1.0)
    protocol.slices["train"] = ("train", 0.0, 0.4)
    splits = protocol.split(pools)
    known = set(splits["train"].y.tolist()) | set(splits["aux"].y.tolist())
    assert not known & set(splits["victims"].y.tolist())
    assert set(splits["victims"].attributes["gallery"].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train_identities": 1}, "dataset.train_identities: the names show 2, not 1; set dataset.train_identities=2"),
        ({"test_identities": 1}, "dataset.test_identities: the names show 2, not 1"),
        ({"distractors": 1}, "dataset.distractors: 2 boxes are called 0000; set dataset.distractors=2"),
        ({"cameras": 5}, "dataset.cameras: the names count cameras from 1 to 6; set dataset.cameras=6"),
        ({"parts": {"train": "bounding_box_train", "query": "query"}}, "dataset.parts: lacks gallery"),
        ({"parts": {"train": "query", "query": "query", "gallery": "query"}}, "identities [1, 9] are in training and"),
        ({"folder": "elsewhere"}, "elsewhere/bounding_box_train is missing; put the folders bounding_box_train, query"),
        ({"size": [8]}, "dataset.size"),
    ],
)
def test_what_does_not_fit_is_said_with_its_remedy(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    lay_out(tmp_path / "market1501", MARKET)

    def read() -> None:
        from splitpriv.types import blame

        with blame("dataset"):
            dataset("market1501", **changed).pools(tmp_path)

    assert said in problem(read)


def test_files_that_are_missing_empty_or_misnamed_are_named(tmp_path: Path) -> None:
    data = dataset("market1501")
    assert "given on request only" in problem(lambda: data.fetch(tmp_path))
    (tmp_path / "Market-1501-v15.09.15").mkdir()
    assert "not read in this form: Market-1501-v15.09.15)" in problem(lambda: data.pools(tmp_path))
    home = lay_out(tmp_path / "market1501", {name: [] for name in MARKET})
    assert "holds no images" in problem(lambda: data.pools(tmp_path))
    Image.new("RGB", (6, 12)).save(home / "bounding_box_train" / "cat.jpg")
    assert "cat.jpg is not called <identity>_c<camera>" in problem(lambda: data.pools(tmp_path))
    Image.new("RGB", (6, 12)).save(home / "bounding_box_train" / "dog.jpg")
    assert "dog.jpg are not called <identity>_c<camera>...; take them out" in problem(lambda: data.pools(tmp_path))
