from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from splitpriv.config import compose
from splitpriv.data.base import Split
from splitpriv.data.protocol import ROLES, Protocol
from splitpriv.targets import build
from splitpriv.types import UserError

CONF = Path(__file__).parents[2] / "conf"
STRICT = {
    "train": ("train", 0.0, 0.65),
    "val": ("train", 0.65, 0.7),
    "aux": ("train", 0.7, 1.0),
    "victims": ("test", 0.0, 1.0),
}


def pool(first, count):
    ids = torch.arange(first, first + count)
    return Split(ids.reshape(-1, 1, 1, 1).to(torch.uint8), ids % 3, ids, {"a": ids % 2})


POOLS = {"train": pool(0, 100), "test": pool(100, 40)}


def protocol(**changes):
    settings = {
        "slices": STRICT, "shuffle": True, "seed": 0, "overlap": False, "attacked": None, "select": "last",
        "select_after": 0.0, "limit": dict.fromkeys(ROLES), "duplicates": None, "queries": 1,
    }  # fmt: skip
    return Protocol(**{**settings, **changes})


def test_four_disjoint_splits_that_use_everything():
    splits = protocol().split(POOLS)
    assert {role: len(s) for role, s in splits.items()} == {"train": 65, "val": 5, "aux": 30, "victims": 40}
    ids = torch.cat([s.ids for s in splits.values()])
    assert torch.equal(ids.sort().values, torch.arange(140))
    for split in splits.values():
        assert torch.equal(split.images.flatten().long(), split.ids)
        assert torch.equal(split.attributes["a"], split.ids % 2)


def test_overlapping_slices_are_refused():
    with pytest.raises(UserError, match=r"protocol\.slices: train and val share images"):
        protocol(slices={**STRICT, "val": ("train", 0.64, 0.7)})
    shared = {**STRICT, "aux": ("test", 0.0, 1.0)}
    with pytest.raises(UserError, match="aux and victims share"):
        protocol(slices=shared)
    splits = protocol(slices=shared, overlap=True).split(POOLS)
    assert torch.equal(splits["aux"].ids, splits["victims"].ids)


def test_pools_that_share_an_image_are_refused():
    leaky = {**POOLS, "test": replace(POOLS["test"], ids=POOLS["test"].ids - 1)}
    with pytest.raises(UserError, match="and victims share images"):
        protocol().split(leaky)
    protocol(overlap=True).split(leaky)


def test_shuffle_is_seeded():
    a, b = protocol().split(POOLS), protocol().split(POOLS)
    assert all(torch.equal(a[r].ids, b[r].ids) for r in ROLES)
    other = protocol(seed=1).split(POOLS)
    assert not torch.equal(a["train"].ids, other["train"].ids)
    plain = protocol(shuffle=False).split(POOLS)
    assert plain["val"].ids.tolist() == list(range(65, 70))


def test_limits_keep_the_first_of_the_same_order():
    whole = protocol().split(POOLS)
    some = protocol(limit={"train": 7, "val": None, "aux": 1000, "victims": 3}).split(POOLS)
    assert torch.equal(some["train"].ids, whole["train"].ids[:7])
    assert torch.equal(some["victims"].ids, whole["victims"].ids[:3])
    assert torch.equal(some["aux"].ids, whole["aux"].ids)
    assert torch.equal(some["val"].ids, whole["val"].ids)


def test_missing_and_empty_slices_are_all_reported():
    with pytest.raises(UserError) as caught:
        protocol(slices={"train": ("train", 0.5, 0.5), "val": ("train", 0.0, 0.1), "aux": ("train", 0.1, 0.2)})
    assert [p.split(":")[0] for p in caught.value.problems] == ["protocol.slices", "protocol.slices.train"]
    with pytest.raises(UserError, match=r"protocol\.slices\.val: no image"):
        protocol().split({**POOLS, "train": pool(0, 4)})


@pytest.mark.parametrize("path", sorted((CONF / "protocol").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_protocols(path):
    made = build(OmegaConf.to_container(OmegaConf.load(path)), "protocol")()
    splits = made.split(POOLS)
    train, val, aux, victims = (splits[role].ids.tolist() for role in ROLES)
    if path.stem == "cem_official":
        assert (train, val, aux, victims) == (list(range(100)), list(range(100, 140)), train, val)
    if path.stem == "cem_official_infer":
        assert (aux, victims) == (list(range(100, 136)), list(range(136, 140)))
    if path.stem.startswith("cem"):
        assert (made.select, made.attacked) == ("best", None)
    if path.stem == "strict":
        assert (len(train), len(val), len(aux), made.attacked, made.overlap) == (65, 5, 30, 1000, False)


SHIPPED = ("fashion_tint", "gaussian", "identities")


@pytest.mark.parametrize("path", sorted((CONF / "dataset").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_dataset_has_a_spec_before_it_is_read_and_its_pools_keep_to_it(path, tmp_path):
    node = compose([f"dataset={path.stem}"])["dataset"]
    if node["_target_"].endswith(".Images"):
        node["path"] = str(tmp_path)
        with pytest.raises(UserError, match=r"dataset\.path"):
            build(node, "dataset")()
        return
    data = build(node, "dataset")()
    assert len(data.spec.mean) == len(data.spec.std) == data.spec.image[0]
    assert data.spec.classes >= 2
    assert (data.crop, data.flip, data.rotation) == (node["crop"], node["flip"], node["rotation"])
    try:
        pools = data.pools(tmp_path)
    except UserError:  # it waits for files
        assert path.stem not in SHIPPED
        return
    assert set(pools) == {"train", "test"}
    for split in pools.values():
        assert split.images.shape == (len(split), *data.spec.image)
        x = split.x(slice(None))
        assert x.dtype == torch.float32 and 0 <= x.min() < x.max() <= 1
        assert split.y.dtype == torch.int64 and split.y.min() >= 0 and split.y.max() < data.spec.classes
        assert {name: bool((v.min() >= 0) and v.max() < data.spec.attributes[name])
                for name, v in split.attributes.items()} == dict.fromkeys(data.spec.attributes, True)  # fmt: skip
    ids = torch.cat([split.ids for split in pools.values()])
    assert len(ids.unique()) == len(ids)


def test_copies_come_to_one_side_where_they_are_asked_to():
    random = torch.Generator().manual_seed(0)
    x = (torch.rand(30, 3, 8, 8, generator=random) * 255).byte().repeat(3, 1, 1, 1)
    ids = torch.arange(90)
    pools = {"train": Split(x[:70], ids[:70] % 2, ids[:70]), "test": Split(x[70:], ids[70:] % 2, ids[70:])}

    def pictures(splits):
        return [{image.numpy().tobytes() for image in split.images} for split in splits.values()]

    for settings, usual, apart in (
        ({}, "flag", False), ({}, "group", True), ({"duplicates": "group"}, "flag", True),
        ({"duplicates": "flag"}, "group", False), ({"overlap": True}, "group", False),
    ):  # fmt: skip
        it = protocol(**settings)
        splits, moved = it.parted(it.split(pools), usual)
        assert (len(set.union(*pictures(splits))) == sum(map(len, pictures(splits)))) is apart is bool(moved)
        assert sum(map(len, splits.values())) == 90


def test_copies_that_leave_nothing_are_refused():
    same = {name: replace(pool, images=torch.zeros_like(pool.images)) for name, pool in POOLS.items()}
    it = protocol()
    with pytest.raises(UserError, match=r"protocol\.duplicates: once copies are on one side, nothing is left for"):
        it.parted(it.split(same), "group")
    with pytest.raises(UserError, match=r"protocol\.duplicates: group keeps .* overlap=true"):
        protocol(overlap=True, duplicates="group")


def test_a_pool_without_an_image_names_the_share_that_made_it():
    whole = POOLS["train"]
    with pytest.raises(UserError, match=r"^dataset\.test_share: leaves no image in the pool test, .*\.victims"):
        protocol().split({"train": whole, "test": whole.take(slice(0, 0))})
