"""The usual forms of the usual sets: pickled CIFAR-10, MNIST's other names, Kaggle's CelebA, Tiny ImageNet."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own import put

from splitpriv.commands.data import fetched
from splitpriv.data import cifar10, mnist
from splitpriv.data.cifar10 import Cifar10
from splitpriv.data.files import Published
from splitpriv.data.mnist import Mnist
from splitpriv.data.tiny_imagenet import TinyImageNet
from splitpriv.data.torchvision_sets import CelebA
from splitpriv.types import UserError

PLAIN = {"crop": 0, "flip": False, "rotation": 0.0}


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    draw = np.random.RandomState(0).randint(0, 255, (6, 3072)).astype(np.uint8)
    found = []
    (tmp_path / cifar10.PYTHON).mkdir()
    for i, file in enumerate((cifar10.PICKLES[0], cifar10.PICKLES[-1])):
        part = slice(0, 4) if i == 0 else slice(4, 6)
        raw = pickle.dumps({b"data": draw[part], b"labels": list(range(6))[part]})
        (tmp_path / file.path).write_bytes(raw)
        found.append(Published(file.path, 0, f"md5:{hashlib.md5(raw).hexdigest()}"))
    monkeypatch.setattr(cifar10, "PICKLES", found)
    return tmp_path, draw


def test_cifar10_for_python_shows_the_same_images(pickled: tuple[Path, np.ndarray]) -> None:
    root, draw = pickled
    pools = Cifar10(**PLAIN).pools(root)
    assert [len(pools["train"]), pools["test"].y.tolist()] == [4, [4, 5]]
    assert np.array_equal(pools["train"].images.numpy().reshape(4, -1), draw[:4])
    assert Cifar10(**PLAIN).verify(root) == "4 train, 2 test"


def test_a_pickle_that_is_not_the_published_one_is_not_opened(pickled: tuple[Path, np.ndarray]) -> None:
    root, _ = pickled
    path = root / cifar10.PYTHON / "test_batch"
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(UserError, match="test_batch has a wrong checksum"):
        Cifar10(**PLAIN).pools(root)


def test_a_whole_form_is_read_beside_one_that_is_not(
    pickled: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = pickled
    (root / cifar10.FOLDER).mkdir()
    assert Cifar10(**PLAIN).verify(root) == "4 train, 2 test"
    monkeypatch.setattr(Cifar10, "fetch", None)  # not called
    assert fetched(Cifar10(**PLAIN), root) == "4 train, 2 test"
    (root / cifar10.PICKLES[0].path).unlink()
    with pytest.raises(UserError, match=r"data_batch_1\.bin and 5 more files are missing"):
        Cifar10(**PLAIN).pools(root)


def test_what_is_no_file_is_not_the_outputs_fault(pickled: tuple[Path, np.ndarray], monkeypatch: Any) -> None:
    root, _ = pickled
    path = root / cifar10.PICKLES[0].path
    raw = path.read_bytes()
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"^paths\.data: .*data_batch_1 cannot be read \(it is no file\)"):
        Cifar10(**PLAIN).pools(root)
    path.rmdir()
    path.write_bytes(raw)

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    for where, name in ((cifar10.files, "digest_of"), (cifar10, "_unpickled")):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, refuse)
            with pytest.raises(UserError, match=r"^paths\.data: .*data_batch_1 cannot be read \(Permission denied\)"):
                Cifar10(**PLAIN).read(root)


def test_other_forms_are_seen(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-mat").mkdir()
    (tmp_path / "mnist_train.csv").write_text("")
    with pytest.raises(UserError, match=r"seen there, and not read in this form: cifar-10-batches-mat"):
        Cifar10(**PLAIN).pools(tmp_path)
    with pytest.raises(UserError, match=r"seen there, and not read in this form: mnist_train\.csv"):
        Mnist(task="digit", size=28, fit="resize", **PLAIN).pools(tmp_path)


@pytest.mark.parametrize(
    "form", ["MNIST/raw/{dotted}", "{dotted}", "mnist/{name}.gz", "MNIST/raw/{name}.gz", "raw/{dotted}.gz",
             "{dotted}/{dotted}", "{dotted}/{name}"],
)  # fmt: skip
def test_mnist_by_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    arrays = [np.full((2, 28, 28), 7, np.uint8), np.array([3, 9], np.uint8), np.zeros((1, 28, 28), np.uint8),
              np.array([4], np.uint8)]  # fmt: skip
    files = []
    for file, array in zip(mnist.FILES, arrays, strict=True):
        raw = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        name = Path(file.path).name
        path = tmp_path / form.format(name=name, dotted=name.replace("-idx", ".idx"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
        files.append(Published(file.path, len(raw), f"md5:{hashlib.md5(raw).hexdigest()}"))
    monkeypatch.setattr(mnist, "FILES", files)
    data = Mnist(task="digit", size=28, fit="resize", **PLAIN)
    pools = data.pools(tmp_path)
    assert (pools["train"].y.tolist(), pools["test"].y.tolist()) == ([3, 9], [4])
    assert pools["train"].images.unique().tolist() == [7]
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    with pytest.raises(UserError, match=r"is damaged|is not the published"):
        data.pools(tmp_path)


def celeba(root: Path, nested: bool, no: int = -1) -> Path:
    place = "celeba/img_align_celeba/img_align_celeba" if nested else "celeba/img_align_celeba"
    for i in range(4):
        put(root, f"{place}/{i}.png", colour=(60 * i, 0, 0))
    (root / "celeba/list_attr_celeba.csv").write_text(
        "image_id,Male,Smiling\n" + "".join(f"{i}.png,{i % 2 or no},{i // 2 or no}\n" for i in range(4))
    )
    (root / "celeba/list_eval_partition.csv").write_text("image_id,partition\n0.png,2\n1.png,1\n2.png,0\n3.png,0\n")
    return root


@pytest.mark.parametrize(("nested", "no"), [(True, -1), (False, 0)])
def test_celeba_as_kaggle_ships_it(tmp_path: Path, nested: bool, no: int) -> None:
    root = celeba(tmp_path, nested, no)
    data = CelebA(task="Smiling", attributes=("Male",), size=8, **PLAIN)
    pools = data.pools(root)
    assert (pools["train"].y.tolist(), pools["test"].y.tolist()) == ([0, 1, 1], [0])
    assert pools["train"].attributes["Male"].tolist() == [1, 0, 1]
    assert pools["train"].images[:, 0, 0, 0].tolist() == [60, 120, 180]
    with pytest.raises(UserError, match="lacks the columns Young"):
        CelebA(task="Young", attributes=(), size=8, **PLAIN).pools(root)
    (root / "celeba/list_eval_partition.csv").unlink()
    with pytest.raises(UserError, match=r"list_eval_partition\.csv is missing"):
        data.pools(root)


def tiny(root: Path, classes: int = 2) -> Path:
    home = root / "tiny-imagenet-200"
    put(home, *(f"train/n{c:02}/images/n{c:02}_{i}.png" for c in range(classes) for i in range(2)), "test/images/0.png")
    for i in range(3):
        put(home, f"val/images/val_{i}.png", colour=(50 * i, 0, 0))
    (home / "val/val_annotations.txt").write_text("val_2.png\tn01\t0\t0\t1\t1\nval_0.png\tn00\t0\t0\t1\t1\n")
    return root


def test_tiny_imagenet_as_published_and_rearranged(tmp_path: Path) -> None:
    data = TinyImageNet(size=8, classes=2, **PLAIN)
    pools = data.pools(tiny(tmp_path / "a"))
    assert (pools["train"].y.tolist(), pools["test"].y.tolist()) == ([0, 0, 1, 1], [0, 1])
    assert pools["test"].images[:, 0, 0, 0].tolist() == [0, 100]
    root = tiny(tmp_path / "b")
    for name in ("n00", "n01"):
        put(root, f"tiny-imagenet-200/val/{name}/images/0.png")
    for path in (root / "tiny-imagenet-200/val/images").iterdir():
        path.unlink()
    (root / "tiny-imagenet-200/val/images").rmdir()
    assert data.pools(root)["test"].y.tolist() == [0, 1]
    with pytest.raises(UserError, match=r"dataset\.classes: .* has 2 classes with images, not 200"):
        TinyImageNet(size=8, classes=200, **PLAIN).pools(root)
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent/tiny-imagenet-200.zip").touch()
    with pytest.raises(UserError, match=r"tiny-imagenet-200/train is missing.*in this form: tiny-imagenet-200\.zip"):
        data.pools(tmp_path / "absent")
    with pytest.raises(UserError, match=r"unpack http://cs231n"):
        data.fetch(tmp_path / "absent")
