"""Copies are found by what they show, at once in large sets, and brought to one side without tearing a family."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from splitpriv.data.base import Split
from splitpriv.data.copies import Copies, parted
from splitpriv.data.protocol import ROLES


def scenes(count: int, seed: int = 0, side: int = 32) -> torch.Tensor:
    """Images that have large and small structure, as photographs do, uint8."""
    random = torch.Generator().manual_seed(seed)
    sizes = ((1, 3, 0.5), (1, 6, 0.25), (1, 12, 0.1), (3, 3, 0.15))  # channels, cells a side, weight: little colour
    layers = [torch.rand(count, c, k, k, generator=random).expand(-1, 3, -1, -1) * 255 * w for c, k, w in sizes]
    return sum(torch.nn.functional.interpolate(x, (side, side), mode="bilinear") for x in layers).round().byte()  # type: ignore[union-attr]


def split(images: torch.Tensor, first: int = 0) -> Split:
    ids = torch.arange(first, first + len(images))
    return Split(images, ids % 2, ids, {"a": ids % 3})


def edited(image: torch.Tensor, how: str) -> torch.Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    if how == "jpeg":
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=75)
        picture = Image.open(file)
    elif how == "size":
        picture = picture.resize((48, 48)).resize((32, 32))
    elif how == "brightness":
        picture = ImageEnhance.Brightness(picture).enhance(0.9)
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def test_the_same_pixels_are_counted_by_image_under_any_name() -> None:
    x = scenes(20)
    found = Copies({"train": split(x[:10]), "victims": split(torch.cat([x[4:6], x[5:6], x[12:]]), 100)})
    assert found.shared("train", "victims") == (3, 0) and found.shared("victims", "train") == (2, 0)


@pytest.mark.parametrize("how", ["jpeg", "size", "brightness"])
def test_a_picture_saved_anew_looks_the_same_and_others_do_not(how: str) -> None:
    x = scenes(300)
    anew = torch.stack([edited(image, how) for image in x[:40]])
    found = Copies({"train": split(x), "victims": split(torch.cat([anew, scenes(200, seed=1)]), 1000)})
    exact, near = found.shared("train", "victims")
    assert exact == 0 and 36 <= near <= 40
    assert len(np.unique(found.family)) >= 500 - 4  # nothing else was taken for a copy


def test_a_set_in_which_all_look_the_same_is_one_family_and_flat_images_are_none() -> None:
    x = scenes(1).repeat(1000, 1, 1, 1)
    x[:, 0, 0, 0] = torch.arange(1000) % 251
    x[:, 1, 0, 0] = torch.arange(1000) // 251
    assert len(np.unique(Copies({"a": split(x)}).family)) == 1
    grey = (torch.arange(100) * 2).byte().view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    assert len(np.unique(Copies({"a": split(grey)}).family)) == 100


def test_no_family_is_torn_and_nothing_is_lost() -> None:
    x = scenes(60).repeat_interleave(3, 0)
    order = torch.randperm(180, generator=torch.Generator().manual_seed(0))
    sizes = dict(zip(ROLES, (90, 12, 42, 36), strict=True))
    whole, splits, start = split(x[order]), {}, 0
    for role, size in sizes.items():
        splits[role], start = whole.take(slice(start, start + size)), start + size
    found, moved = parted(splits)
    assert torch.equal(torch.cat([s.ids for s in found.values()]).sort().values, torch.arange(180))
    after = Copies(found)
    assert all(after.shared(a, b) == (0, 0) for a in ROLES for b in ROLES if a != b) and 0 < moved < 150
    assert all(abs(len(found[role]) - size) <= 12 and len(found[role]) for role, size in sizes.items())
    for part in found.values():
        assert torch.equal(part.images, x[order][part.ids]) and torch.equal(part.attributes["a"], part.ids % 3)


def test_splits_without_copies_stay_as_they_are() -> None:
    x = scenes(40)
    splits = {"train": split(x[:30]), "victims": split(x[30:], 30)}
    found, moved = parted(splits)
    assert moved == 0 and all(torch.equal(found[role].ids, splits[role].ids) for role in splits)
