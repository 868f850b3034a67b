"""How torchvision's classes are read: on stand-ins with their attributes; the real ones only for their refusal."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from splitpriv.data.torchvision_sets import SUPERCLASSES, CelebA, Cifar100, Svhn
from splitpriv.types import UserError

PLAIN = {"crop": 0, "flip": False, "rotation": 0.0}


@pytest.fixture
def library(monkeypatch):
    package, module = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    return module


def test_cifar100(library, tmp_path):
    data = np.arange(5 * 32 * 32 * 3).reshape(5, 32, 32, 3).astype(np.uint8)
    halves = {True: (data[:3], [7, 8, 9]), False: (data[3:], [1, 2])}
    library.CIFAR100 = lambda root, train: SimpleNamespace(data=halves[train][0], targets=halves[train][1])
    pools = Cifar100(task="class", **PLAIN).pools(tmp_path)
    assert pools["train"].y.tolist() == [7, 8, 9]
    assert np.array_equal(pools["test"].images.permute(0, 2, 3, 1).numpy(), data[3:])
    assert pools["test"].ids.tolist() == [3, 4]


# As published beside the data (coarse_labels of the file "train"), for the classes 0 to 99.
COARSE = """
 4 1 14 8 0 6 7 7 18 3   3 14 9 18 7 11 3 9 7 11   6 11 5 10 7 6 13 15 3 15   0 11 1 10 12 14 16 9 11 5
 5 19 8 8 15 13 14 17 18 10   16 4 17 4 2 0 17 4 18 17   10 3 2 12 12 16 12 1 9 19   2 10 0 1 16 12 9 13 15 13
 16 19 2 4 6 19 5 5 8 19   18 1 2 15 6 0 17 8 14 13
"""


def test_cifar100_superclasses(library, tmp_path):
    data = np.zeros((100, 32, 32, 3), np.uint8)
    halves = {True: (data[:60], list(range(60))), False: (data[60:], list(range(60, 100)))}
    library.CIFAR100 = lambda root, train: SimpleNamespace(data=halves[train][0], targets=halves[train][1])
    dataset = Cifar100(task="superclass", **PLAIN)
    pools = dataset.pools(tmp_path)
    assert (dataset.spec.classes, dataset.spec.attributes) == (20, {"class": 100})
    assert [*pools["train"].y.tolist(), *pools["test"].y.tolist()] == [int(c) for c in COARSE.split()]
    assert pools["test"].attributes["class"].tolist() == list(range(60, 100))
    assert list(SUPERCLASSES) == sorted(SUPERCLASSES)


def test_svhn(library, tmp_path):
    library.SVHN = lambda root, split: SimpleNamespace(
        data=np.full((2, 3, 32, 32), len(split), np.uint8), labels=np.array([1, 0])
    )
    pools = Svhn(**PLAIN).pools(tmp_path)
    assert pools["train"].images[0, 0, 0, 0] == 5
    assert pools["test"].images[0, 0, 0, 0] == 4
    assert pools["test"].y.tolist() == [1, 0]


@pytest.mark.parametrize("place", ["celeba/img_align_celeba", "celeba/img_align_celeba/img_align_celeba"])
def test_celeba(library, tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (18, 22), (60 * i, 0, 0)).save(tmp_path / place / f"{i}.png")
    files = {"train": ["0.png", "1.png"], "valid": ["2.png"], "test": ["3.png"]}
    library.CelebA = lambda root, split: SimpleNamespace(
        filename=files[split], attr=torch.tensor([[int(f[0]) % 2, int(f[0]) // 2] for f in files[split]]),
        attr_names=["Male", "Smiling", ""],
    )  # fmt: skip
    data = CelebA(task="Smiling", attributes=("Male",), size=8, **PLAIN)
    assert data.spec.attributes == {"Male": 2}
    pools = data.pools(tmp_path)
    assert pools["train"].y.tolist() == [0, 0, 1]
    assert pools["test"].attributes["Male"].tolist() == [1]
    assert pools["test"].images[0, 0, 0, 0] == 180
    with pytest.raises(UserError, match=r"dataset\.attributes"):
        CelebA(task="Male", attributes=("Male",), size=8, **PLAIN)


def test_what_is_missing_is_named(library, tmp_path):
    def absent(root, **settings):
        raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")

    def no_scipy(root, **settings):
        raise ModuleNotFoundError("No module named 'scipy'")

    library.CIFAR100, library.SVHN = absent, no_scipy
    with pytest.raises(UserError) as caught:
        Cifar100(task="class", **PLAIN).pools(tmp_path)
    assert str(caught.value) == (
        "paths.data: CIFAR100: Dataset not found or corrupted; run `splitpriv data fetch cifar100`, "
        f"or put the folder cifar-100-python under {tmp_path}"
    )
    (tmp_path / "cifar-100-binary").mkdir()
    with pytest.raises(UserError, match=r"not read in this form: cifar-100-binary\)$"):
        Cifar100(task="class", **PLAIN).pools(tmp_path)
    library.SVHN = absent
    (tmp_path / "train_32x32.mat").touch()
    with pytest.raises(UserError, match=r"not read in this form: train_32x32\.mat\)$"):
        Svhn(**PLAIN).pools(tmp_path)
    library.SVHN = no_scipy
    with pytest.raises(UserError, match="pip install it"):
        Svhn(**PLAIN).pools(tmp_path)


def test_the_real_library_refuses_an_empty_folder(tmp_path):
    pytest.importorskip("torchvision")
    celeba = CelebA(task="Male", attributes=(), size=8, **PLAIN)
    for data in (Cifar100(task="class", **PLAIN), Svhn(**PLAIN), celeba):
        with pytest.raises(UserError, match=r"paths\.data: .*; run `splitpriv data fetch"):
            data.pools(tmp_path)
