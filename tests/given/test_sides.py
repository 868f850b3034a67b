"""Images and recorded releases: read, paired, kept apart; each that does not fit is one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from splitpriv.given.images import Pictures, pictures
from splitpriv.given.releases import beside, recorded, related, require_order
from splitpriv.given.sides import sides
from splitpriv.types import UserError


def drawn(count: int, seed: int = 0) -> torch.Tensor:
    """Bytes of smooth images (N, 3, 8, 8)."""
    small = torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.interpolate(small, (8, 8), mode="bilinear") * 255).round().to(torch.uint8)


def sent(x: torch.Tensor) -> torch.Tensor:
    """What a device would send of them."""
    return torch.nn.functional.avg_pool2d(x.float() / 255, 2)


def folder(path: Path, x: torch.Tensor, names: Any = None) -> Path:
    for i, image in enumerate(x):
        file = path / (names[i] if names else f"{i:03}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    return path


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in arrays.items()})
    return path


def stored(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


def cut_short(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-60])
    return path


def test_folders_arrays_and_tensors_are_the_same_images(tmp_path):
    x = drawn(6)
    read = [pictures(folder(tmp_path / "a", x), "--data", tmp_path), pictures(x, "aux", tmp_path),
            pictures(x.permute(0, 2, 3, 1).numpy(), "aux", tmp_path),
            pictures(saved(tmp_path / "x.npz", images=x), "--data", tmp_path)]  # fmt: skip
    assert len({p.digest for p in read}) == 1
    assert read[0].files[0] == "000.png"
    assert pictures(tmp_path / "a", "--data", tmp_path, size=4).images.shape == (6, 3, 4, 4)
    assert pictures(x, "aux", tmp_path, size=(4, 6)).images.shape == (6, 3, 4, 6)


def test_channels_are_those_that_are_asked_for_whatever_holds_the_images(tmp_path):
    x = drawn(5)
    from_files = pictures(folder(tmp_path / "a", x), "--data", tmp_path, channels=1)
    for held in (x, saved(tmp_path / "x.npz", images=x)):
        assert torch.equal(pictures(held, "--data", tmp_path, channels=1).images, from_files.images)
    shades = pictures(x.float() / 255, "--data", tmp_path, channels=1).images
    assert torch.allclose(shades, from_files.images.float() / 255, atol=1 / 255)
    coloured = pictures(from_files.images, "--data", tmp_path, channels=3).images
    assert coloured.shape == x.shape and torch.equal(coloured[:, :1], coloured[:, 2:])
    assert pictures(from_files.images, "--data", tmp_path).images.shape[1] == 1
    with pytest.raises(UserError, match="--data: images of 4 channels are neither"):
        pictures(torch.rand(2, 4, 8, 8), "--data", tmp_path, channels=3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda at: at / "nowhere", "is not there"),
        (lambda at: (at / "empty").mkdir() or at / "empty", "holds no images"),
        (lambda at: saved(at / "x.npz", other=drawn(2)), "no array called images"),
        (lambda at: drawn(2).float(), "are no images; give bytes, or floats in [0, 1]"),
        (lambda at: torch.full((2, 3, 8, 8), torch.nan), "are no images"),
        (lambda at: torch.rand(3), "are no images"),
        (lambda at: folder(at / "dark", drawn(2) // 16), "show as black alone"),
        (lambda at: torch.rand(2, 3, 8, 8) / 255, "show as black alone"),
        (lambda at: torch.rand(3, 3, 0, 8), "are no images"),
        (lambda at: np.array(["a", "b"]), "values are <U1; give bytes, or floats in [0, 1]"),
        (lambda at: drawn(2).to(torch.complex64), "values are torch.complex64"),
        (lambda at: stored(at / "s.npy", np.array(["a", "b"])), "values are <U1; give bytes, or floats in [0, 1]"),
        (lambda at: cut_short(saved(at / "x.npz", images=drawn(30))), "no array called images (File is not a zip"),
        (lambda at: cut_short(stored(at / "x.npy", drawn(30).numpy())), "no array called images"),
    ],
)
def test_what_is_no_images(tmp_path, make, says):
    with pytest.raises(UserError) as error:
        pictures(make(tmp_path), "--data", tmp_path / "cache")
    assert says in str(error.value) and len(error.value.problems) == 1


def test_several_sizes_ask_for_one(tmp_path):
    folder(tmp_path / "a", drawn(3))
    Image.new("RGB", (9, 7)).save(tmp_path / "a" / "z.png")
    with pytest.raises(UserError, match=r"2 sizes, 8x8 \(000.png\), 7x9 \(z.png\); add --size"):
        pictures(tmp_path / "a", "--victims", tmp_path)
    assert len(pictures(tmp_path / "a", "--victims", tmp_path, size=8)) == 4


def test_damaged_files_are_named(tmp_path):
    (folder(tmp_path / "a", drawn(3)) / "000.png").write_bytes(b"no")
    with pytest.raises(UserError, match=r"--data: .*000\.png is not a readable image"):
        pictures(tmp_path / "a", "--data", tmp_path)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"other": drawn(3)}, "has no array releases, but other"),
        ({"releases": np.zeros(3)}, "give numbers (N, ...)"),
        ({"releases": np.array([["a"]])}, "give numbers (N, ...)"),
        ({"releases": np.full((4, 2), np.nan)}, "4 of 4 releases hold NaN"),
        ({"releases": np.zeros((4, 2)), "images": drawn(3)}, "4 releases beside 3 images"),
        ({"releases": np.zeros((4, 2)), "files": np.array(["a"])}, "4 releases beside 1 files"),
        ({"releases": np.zeros((4, 2)), "files": np.arange(4)}, "as text"),
        ({"releases": np.zeros((1, 2)), "files": np.array(3)}, "as text"),
        ({"releases": np.zeros((2, 2)), "images": np.array(["a", "b"])}, "--releases: images: values are <U1"),
        ({"releases": np.array([{}, {}])}, "cannot be read"),
    ],
)
def test_what_is_no_recording(tmp_path, arrays, says):
    with pytest.raises(UserError) as error:
        recorded(saved(tmp_path / "r.npz", **arrays))
    assert says in str(error.value) and len(error.value.problems) == 1


def test_other_files_are_no_recording(tmp_path):
    for name in ("r.npy", "r.npz", "lost.npz"):
        if name != "lost.npz":
            (tmp_path / name).write_bytes(b"no")
        with pytest.raises(UserError, match="--releases: "):
            recorded(tmp_path / name)


def test_a_wrong_order_is_noticed():
    x = drawn(64)
    z = sent(x)
    assert related(x, z)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    for wrong in (z[order], z.roll(1, 0), z.flip(0)):
        assert not related(x, wrong)
        with pytest.raises(UserError, match="nothing relates them to the images in this order"):
            require_order(x, wrong)
    names = sorted(f"{i}.png" for i in range(64))  # 0, 1, 10, 11, ...
    by_number = torch.tensor([int(name[:-4]) for name in names])
    with pytest.raises(UserError, match=r"order of numbers in names \(2.png before 10.png\)"):
        require_order(x[by_number], z, names)


def test_releases_find_their_images(tmp_path):
    x = drawn(8)
    held = [("--data", Pictures(x[:5], tuple(f"a/{i}.png" for i in range(5)))), ("--victims", Pictures(x[5:]))]
    parts = beside(recorded(saved(tmp_path / "r.npz", releases=sent(x))), held)
    assert [len(p) for p, _ in parts] == [5, 3] and torch.equal(parts[1][1], sent(x)[5:])
    named = saved(tmp_path / "n.npz", releases=sent(x[[3, 1, 7]]), files=np.array(["3.png", "a/1.png", ""]))
    [(kept, releases)] = beside(recorded(named), held[:1])
    assert kept.files == ("a/1.png", "a/3.png") and torch.equal(releases, sent(kept.images))
    with pytest.raises(UserError, match="7 releases for 5 images in --data and 3 images in --victims"):
        beside(recorded(saved(tmp_path / "f.npz", releases=sent(x[1:]))), held)
    for files, says in ((["3.png", "9.png"], "of no image in --data"), (["3.png", "3.png"], "more than once")):
        with pytest.raises(UserError, match=says):
            beside(recorded(saved(tmp_path / "w.npz", releases=sent(x[:2]), files=np.array(files))), held[:1])


def test_a_name_that_several_pictures_bear_is_refused(tmp_path):
    x = drawn(8)
    data = Pictures(x[:4], ("a/0.png", "a/1.png", "b/0.png", "b/2.png"), "data")
    victims = Pictures(x[4:], ("0.png", "1.png", "b/2.png", "c/3.png"), "victims")

    def paired(*files: str, among: Any = (("--data", data),)) -> Any:
        return beside(recorded(saved(tmp_path / "r.npz", releases=sent(x[: len(files)]), files=np.array(files))), among)

    both = (("--data", data), ("--victims", victims))
    for files, among, says in (
        (["0.png", "1.png"], both[:1], "0.png in files may be data/a/0.png, data/b/0.png; give the path"),
        (["1.png", "3.png"], both, "1.png in files may be data/a/1.png, victims/1.png; give the path"),
        (["b/2.png"], both, "b/2.png in files may be data/b/2.png, victims/b/2.png; give the path"),
        (["b/2.png"], both[:1] * 2, "rename a folder"),
        (["1.png", "a/1.png"], both[:1], "a/1.png in files more than once"),
        (["3.png"], both, "--data: no name in files of --releases is of an image there"),
        (["a/0.png"], both, "--victims: no name in files of --releases is of an image there"),
        (["", ""], both[1:], "--victims: no name in files"),
    ):
        with pytest.raises(UserError) as error:
            paired(*files, among=among)
        assert says in str(error.value) and len(error.value.problems) == 1
    [(kept, z), (others, w)] = paired("victims/1.png", "b/0.png", "data/b/2.png", "3.png", among=both)
    assert (kept.files, others.files) == (("b/0.png", "b/2.png"), ("1.png", "c/3.png"))
    assert torch.equal(z, sent(x[[1, 2]])) and torch.equal(w, sent(x[[0, 3]]))


def test_what_the_adversary_holds_is_no_victims():
    x = drawn(64)
    apart = sides(Pictures(x), None, None, device=True, paired=False)
    assert (len(apart.aux), len(apart.victims)) == (48, 16)
    shared = sides(Pictures(x), Pictures(torch.cat([x[:5], drawn(5, 1)])), None, device=True, paired=False)
    assert shared.moved >= 5 and len(shared.victims) == 10
    for data, victims, says in (
        (x, x, "are too few for an adversary to learn from, once 64 copies of victims are left out"),
        (x[:12], None, "are too few for an adversary to learn from"),
        (x, x[:, :, :4], "images of 3x4x8 beside 3x8x8 in --data; add --size"),
        (x, x[:, :1], "images of 1x8x8 beside 3x8x8 in --data; add --channels"),
    ):
        with pytest.raises(UserError) as error:
            sides(Pictures(data), victims if victims is None else Pictures(victims), None, device=True, paired=False)
        assert says in str(error.value)


def test_recorded_releases_take_their_sides(tmp_path):
    x = drawn(64)
    pairs = recorded(saved(tmp_path / "p.npz", releases=sent(x), images=x))
    held = sides(None, None, pairs, device=False, paired=False)
    assert (len(held.aux), len(held.victims), held.sent) == (48, 16, None)
    assert torch.equal(held.aux_releases, sent(held.aux.images))
    assert torch.equal(held.victims_releases, sent(held.victims.images))
    bare = recorded(saved(tmp_path / "b.npz", releases=sent(x[:7])))
    held = sides(Pictures(x), None, bare, device=True, paired=False)
    assert len(held.sent) == 7 and held.victims_releases is None and len(held.victims) == 16
    beside_victims = sides(Pictures(drawn(40, 2)), Pictures(x[:7]), bare, device=True, paired=True)
    assert torch.equal(beside_victims.victims_releases, sent(x[:7]))
    shuffled = recorded(saved(tmp_path / "s.npz", releases=sent(x).flip(0), images=x))
    with pytest.raises(UserError, match="nothing relates them"):
        sides(None, None, shuffled, device=False, paired=False)
    assert len(sides(None, None, shuffled, device=False, paired=True).aux) == 48
    for data, device, what, says in (
        (None, False, bare, "--data: give the images"),
        (None, True, bare, "--data: give a"),
        (Pictures(x), False, pairs, "leave out --data"),
    ):
        with pytest.raises(UserError, match=says):
            sides(data, None, what, device=device, paired=False)
