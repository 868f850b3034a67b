"""What the adversary knows is what the group says, and nothing of a victim."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from splitpriv import targets
from splitpriv.data.base import Dataset, Split
from splitpriv.data.knowledge import Disjoint, Knowledge, Nothing, OtherSet, Shifted, TrainSet
from splitpriv.run.prepare import prepare
from splitpriv.types import Spec, UserError

SPEC = Spec((3, 8, 8), 4, {"side": 2})
HERE = Path()


def split(first: int, count: int) -> Split:
    dice = torch.Generator().manual_seed(first)
    images = torch.randint(256, (count, 3, 8, 8), generator=dice, dtype=torch.uint8)
    return Split(images, torch.arange(count) % 4, torch.arange(first, first + count), {"side": torch.arange(count) % 2})


SPLITS = {"train": split(0, 40), "val": split(100, 8), "aux": split(200, 32), "victims": split(300, 16)}


def ids(s: Split) -> set[int]:
    return {int(i) for i in s.ids}


def test_same_is_the_protocol_s_aux_cut_to_size() -> None:
    assert Knowledge(size=None).apply(SPLITS, SPEC, HERE)["aux"] is SPLITS["aux"]
    assert ids(Knowledge(size=5).apply(SPLITS, SPEC, HERE)["aux"]) == {200, 201, 202, 203, 204}


def test_the_train_set_is_the_target_s() -> None:
    assert ids(TrainSet(size=None).apply(SPLITS, SPEC, HERE)["aux"]) == ids(SPLITS["train"])


def test_none_holds_no_real_image() -> None:
    known = Nothing(size=None, seed=7).apply(SPLITS, SPEC, HERE)["aux"]
    real = torch.cat([s.images for s in SPLITS.values()])
    assert not (known.images[:, None] == real).flatten(2).all(2).any()
    assert not ids(known) & {i for s in SPLITS.values() for i in ids(s)}
    assert set(known.attributes) == {"side"} and abs(float(known.x(slice(None)).mean()) - 0.5) < 0.02


def test_shifted_images_are_the_same_seen_differently() -> None:
    shifted = Shifted(size=None, blur=1.0, contrast=0.5, brightness=0.1, swap=True)
    known = shifted.apply(SPLITS, SPEC, HERE)["aux"]
    assert torch.equal(known.y, SPLITS["aux"].y) and known.images.dtype == torch.uint8
    assert not torch.equal(known.images, SPLITS["aux"].images)
    flat = torch.full((1, 3, 8, 8), 0.5)
    flat[:, 0] = 0.9
    seen: Tensor = shifted.shift(flat)
    assert torch.allclose(seen[:, 2], torch.tensor(0.8)) and torch.allclose(seen[:, 0], torch.tensor(0.6))


def test_another_set_arrives_in_the_victims_shape() -> None:
    known = OtherSet(size=20, source=_tint).apply(SPLITS, SPEC, HERE)["aux"]
    assert known.images.shape == (20, 3, 8, 8) and known.images.float().std() > 10
    assert int(known.y.max()) < 4 and set(known.attributes) == {"side"}
    grey = OtherSet(size=20, source=_tint).apply(SPLITS, Spec((1, 8, 8), 4), HERE)["aux"]
    assert grey.images.shape == (20, 1, 8, 8)
    with pytest.raises(UserError, match=r"^knowledge\.size: 9000 is more than the source has; give at most 8000$"):
        OtherSet(size=9000, source=_tint).apply(SPLITS, SPEC, HERE)


def _dataset(*overrides: str) -> Dataset:
    from splitpriv import config

    return targets.build(config.compose(overrides)["dataset"], "dataset")()  # type: ignore[no-any-return]


def _tint() -> Dataset:
    return _dataset("dataset=fashion_tint")


SAME = [
    (["dataset=fashion_tint"], ["dataset=identities"]),  # the same garments
    (["dataset=fashion_tint"], ["dataset=fashion_tint", "dataset.seed=1"]),
    (["dataset=mnist"], ["dataset=mnist_above_five"]),  # the same digits under another label
    (["dataset=mnist"], ["dataset=mnist", "dataset.size=20", "dataset.fit=resize"]),
    (["dataset=gaussian"], ["dataset=gaussian", "dataset.std=0.1"]),  # the same draws, scaled
]
OTHER = [
    (["dataset=mnist"], ["dataset=identities"]),
    (["dataset=cifar10"], ["dataset=cifar100"]),
    (["dataset=veri"], ["dataset=market1501"]),
    (["dataset=gaussian"], ["dataset=gaussian", "dataset.seed=1"]),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_a_source_of_the_same_images_is_refused_either_way(one: list[str], two: list[str]) -> None:
    for source, attacked in ((one, two), (two, one)):
        with pytest.raises(UserError, match=r"^knowledge\.source: shows the images of the data set under attack"):
            OtherSet(size=None, source=partial(_dataset, *source)).validate(_dataset(*attacked))


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_a_source_of_other_images_is_taken_either_way(one: list[str], two: list[str]) -> None:
    for source, attacked in ((one, two), (two, one)):
        other, own = OtherSet(size=None, source=partial(_dataset, *source)), _dataset(*attacked)
        other.validate(own)  # raises nothing
        assert other.source.origin != own.origin
        assert other.content(Path()) == other.source.version


def test_two_folders_are_two_sets_of_images(tmp_path: Path) -> None:
    here, there = (["dataset=images", f"dataset.path={tmp_path / name}"] for name in ("here", "there"))
    for folder in ("here", "there"):
        for label in ("cat", "dog"):
            path = tmp_path / folder / label / "0.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(path)
    OtherSet(size=None, source=partial(_dataset, *here)).validate(_dataset(*there))
    with pytest.raises(UserError, match="shows the images of the data set under attack"):
        OtherSet(size=None, source=partial(_dataset, *here)).validate(_dataset(*here))


@pytest.mark.parametrize("by", ["y", "side"])
def test_disjoint_shares_no_value_between_aux_and_victims(by: str) -> None:
    known = Disjoint(size=None, by=by, share=0.5, seed=0).apply(SPLITS, SPEC, HERE)
    values = [{int(v) for v in (s.y if by == "y" else s.attributes[by])} for s in (known["aux"], known["victims"])]
    assert values[0] and values[1] and not values[0] & values[1]
    assert ids(known["victims"]) < ids(SPLITS["victims"])


def test_an_unknown_attribute_or_an_empty_aux_is_refused() -> None:
    tint = _tint()
    with pytest.raises(UserError, match=r"knowledge\.by: .*'race'.*y, tint"):
        Disjoint(size=None, by="race", share=0.5, seed=0).validate(tint)
    with pytest.raises(UserError, match="no aux or no victims"):
        Disjoint(size=None, by="side", share=0.9, seed=0).apply({**SPLITS, "victims": split(0, 1)}, SPEC, HERE)


def test_who_holds_the_train_set_has_a_ceiling_of_his_own() -> None:
    """The clean ceiling hangs on no fit, so its key must tell the training split apart."""
    from small import tiny

    few = ("attack=[probe]", "attack.probe.attribute=side", "attack.probe.epochs=1")
    plans = []
    for size in (32, 64):
        cfg = tiny(*few, "knowledge=train_set", f"protocol.limit.train={size}", decoder=False)
        plans.append(prepare(cfg).plan.clean["probe"])
    assert plans[0] != plans[1]
