"""The identities that are made from what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from splitpriv import config, targets
from splitpriv.data.base import Split
from splitpriv.data.identities import Identities
from splitpriv.stats.ranking import chance, ranking
from splitpriv.types import UserError, blame

FEW = {"train_identities": 6, "test_identities": 4, "cameras": 3, "shots": 2}


def dataset(**changed: Any) -> Identities:
    node = config.compose(["dataset=identities"])["dataset"]
    with blame("dataset"):
        made: Identities = targets.build({**node, **changed}, "dataset")()
    return made


@pytest.fixture(scope="module")
def pools() -> dict[str, Split]:
    return dataset().pools(Path("nowhere"))


def test_identities_of_the_pools_are_apart_and_seen_by_every_camera(pools: dict[str, Split]) -> None:
    train, test = pools["train"], pools["test"]
    assert (train.y.unique().tolist(), test.y.unique().tolist()) == (list(range(160)), list(range(160, 200)))
    assert [len(train), len(test)] == [160 * 12, 40 * 12]
    for split in (train, test):
        assert torch.equal(split.y, split.attributes["identity"])
        pairs = split.y * 4 + split.attributes["camera"]
        assert (pairs.bincount()[-160:] == 3).all()
        asks = split.attributes["gallery"] == 0
        assert pairs[asks].unique().numel() == int(asks.sum()) == len(split) // 3  # one query per identity and camera
    assert torch.equal(torch.cat([train.ids, test.ids]), torch.arange(2400))


def test_statistics_of_the_spec(pools: dict[str, Split]) -> None:
    x = torch.cat([pools["train"].images, pools["test"].images]).float() / 255
    spec = dataset().spec
    assert (tuple(x.shape[1:]), spec.classes, spec.attributes["identity"]) == (spec.image, 200, 200)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.tensor(spec.mean), atol=2e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.tensor(spec.std), atol=2e-4, rtol=0)


def test_they_are_the_same_every_time_and_others_for_another_seed() -> None:
    first, again, other = (dataset(**FEW, seed=seed).pools(Path("nowhere"))["test"].images for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_changes_all_shots_of_a_garment_are_one_image() -> None:
    still = {"cast": 0.0, "contrast": 0.0, "aim": 0, "shake": 0, "light": 0.0, "occlusion": 0}
    images = dataset(**FEW, **still).pools(Path("nowhere"))["train"].images.unflatten(0, (6, 6))
    assert (images == images[:, :1]).all()
    assert (images[0, 0] != images[1, 0]).any()


@pytest.mark.parametrize("name", ["cast", "contrast", "aim"])
def test_cameras_differ(name: str) -> None:
    strength = {"cast": 0.4, "contrast": 0.6, "aim": 9}
    still = {"cast": 0.0, "contrast": 0.0, "aim": 0, "shake": 0, "light": 0.0, "occlusion": 0, name: strength[name]}
    images = dataset(**FEW, **still).pools(Path("nowhere"))["train"].images.unflatten(0, (6, 3, 2))
    assert (images[:, :, 0] == images[:, :, 1]).all()
    assert all((images[:, a] != images[:, b]).any() for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("name", ["shake", "light", "occlusion"])
def test_shots_differ(name: str) -> None:
    strength = {"shake": 2, "light": 0.3, "occlusion": 8}
    still = {"cast": 0.0, "contrast": 0.0, "aim": 0, "shake": 0, "light": 0.0, "occlusion": 0, name: strength[name]}
    images = dataset(**FEW, **still).pools(Path("nowhere"))["train"].images.unflatten(0, (6, 3, 2))
    assert (images[:, :, 0] != images[:, :, 1]).flatten(1).any(1).all()
    if name == "occlusion":
        hidden = (images[:, :, 0] != images[:, :, 1]).any(2).sum((-1, -2))
        assert hidden.max() <= 2 * 64


def test_pixels_tell_more_than_chance_and_far_from_all(pools: dict[str, Split]) -> None:
    test = pools["test"]
    z, camera = test.x(slice(None)).flatten(1), test.attributes["camera"]
    found = ranking(z, z, test.y, test.y, camera, camera, same=True)
    floor = chance(test.y, test.y, camera, camera, same=True)
    assert found["valid"].all()
    assert 3 * float(floor["ap"].mean()) < float(found["ap"].mean()) < 0.4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train_identities": 9_990}, "dataset.train_identities: 10,030 in both pools"),
        ({"cameras": 1}, "dataset.cameras: a query"),
        ({"shots": 1}, "dataset.cameras: a query"),
        ({"aim": 15}, "dataset.aim: with shake, 17 pixels"),
        ({"occlusion": 32}, "dataset.occlusion: 32 hides"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        dataset(**changed)
    assert said in str(error.value)
