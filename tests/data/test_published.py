"""CIFAR-10, MNIST and FairFace: on small synthetic files, and on the real ones where SPLITPRIV_DATA has them."""

import csv
import gzip
import hashlib
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splitpriv.data import cifar10, fairface, files, mnist
from splitpriv.data.cifar10 import Cifar10
from splitpriv.data.fairface import FairFace
from splitpriv.data.files import Published
from splitpriv.data.mnist import Mnist
from splitpriv.types import UserError

PLAIN = {"crop": 0, "flip": False, "rotation": 0.0}
REAL = Path(os.environ.get("SPLITPRIV_DATA", "absent"))


def publish(root, path, raw):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(raw)
    return Published(path, len(raw), f"sha1:{hashlib.sha1(raw).hexdigest()}")


@pytest.fixture
def small_cifar(tmp_path, monkeypatch):
    rows = np.random.RandomState(0).randint(0, 256, (30, 3073)).astype(np.uint8)
    rows[:, 0] %= 10
    names = [f"{cifar10.FOLDER}/{name}.bin" for name in ("data_batch_1", "data_batch_2", "test_batch")]
    found = [publish(tmp_path, n, part.tobytes()) for n, part in zip(names, np.split(rows, 3), strict=True)]
    monkeypatch.setattr(cifar10, "TRAIN", found[:2])
    monkeypatch.setattr(cifar10, "TEST", found[2:])
    return tmp_path, rows


def test_cifar10_reads_rows_in_their_order(small_cifar):
    root, rows = small_cifar
    pools = Cifar10(**PLAIN).pools(root)
    images = torch.cat([pools["train"].images, pools["test"].images])
    assert np.array_equal(images.numpy().reshape(30, -1), rows[:, 1:])
    assert pools["test"].y.tolist() == rows[20:, 0].tolist()
    assert pools["test"].ids.tolist() == list(range(20, 30))
    assert Cifar10(**PLAIN).verify(root) == "20 train, 10 test"


def test_three_kinds_of_damage_are_three_messages(small_cifar):
    root, _ = small_cifar
    path = root / cifar10.FOLDER / "data_batch_2.bin"
    raw = path.read_bytes()
    for damage, words in (
        (None, "is missing"),
        (raw[:-9], "is truncated"),
        (raw[:-1] + bytes([raw[-1] ^ 1]), "wrong checksum"),
    ):
        path.unlink() if damage is None else path.write_bytes(damage)
        with pytest.raises(UserError) as caught:
            Cifar10(**PLAIN).pools(root)
        [problem] = caught.value.problems
        assert problem.startswith(f"paths.data: {path} ")
        assert words in problem
        assert "splitpriv data fetch cifar10" in problem
    path.unlink()
    (root / cifar10.TEST[0].path).unlink()
    with pytest.raises(UserError, match=r"data_batch_2\.bin and 1 more files are missing"):
        Cifar10(**PLAIN).pools(root)
    (root / cifar10.TRAIN[0].path).write_bytes(b"")
    with pytest.raises(UserError) as caught:
        Cifar10(**PLAIN).pools(root)
    assert len(caught.value.problems) == 2


def test_unchanged_files_are_hashed_once(small_cifar, monkeypatch):
    root, _ = small_cifar
    hashed = []
    real = files.digest_of
    monkeypatch.setattr(files, "digest_of", lambda path, like: hashed.append(path.name) or real(path, like))
    data = Cifar10(**PLAIN)
    data.pools(root)
    assert len(hashed) == 3
    data.pools(root)
    assert len(hashed) == 3
    os.utime(root / cifar10.TEST[0].path, ns=(1, 1))
    data.pools(root)
    assert hashed[3:] == ["test_batch.bin"]
    data.verify(root)
    assert len(hashed) == 7
    (root / ".cache/verified.json").write_text("{")
    data.pools(root)
    assert len(hashed) == 10


def test_a_data_folder_that_cannot_be_written_is_read_all_the_same(small_cifar):
    root, _ = small_cifar
    (root / ".cache").write_text("a file where the folder would be")
    assert len(Cifar10(**PLAIN).pools(root)["test"]) == 10


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise files.urllib.request.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(files.urllib.request, "urlopen", refuse)


def test_fetch_without_a_network_says_what_to_put_where(tmp_path, offline):
    for data, words in (
        (Cifar10(**PLAIN), "cifar-10-binary.tar.gz"),
        (Mnist(task="digit", size=32, fit="pad", **PLAIN), "train-images-idx3-ubyte"),
        (FairFace(task="age", attributes=(), size=8, **PLAIN), "Google Drive"),
    ):
        with pytest.raises(UserError) as caught:
            data.fetch(tmp_path)
        [problem] = caught.value.problems
        assert "\n" not in problem
        assert problem.startswith("paths.data: ")
        assert words in problem
        assert str(tmp_path) in problem
    assert not list(tmp_path.rglob("*.part"))


def test_fetch_unpacks_an_archive_safely_and_repairs(small_cifar, monkeypatch, offline):
    root, _ = small_cifar
    archive = root / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for i, file in enumerate((*cifar10.TRAIN, *cifar10.TEST)):
            tar.add(root / file.path, arcname=f"../../escape/{Path(file.path).name}" if i else file.path)
        tar.add(archive, arcname="surplus.bin")
    monkeypatch.setattr(cifar10, "ARCHIVE", files.digest_of(archive, "md5:"))
    (root / cifar10.TEST[0].path).write_bytes(b"damaged")
    Cifar10(**PLAIN).fetch(root)
    assert len(Cifar10(**PLAIN).pools(root)["test"]) == 10
    assert sorted(p.name for p in (root / cifar10.FOLDER).iterdir()) == [
        "data_batch_1.bin", "data_batch_2.bin", "test_batch.bin",
    ]  # fmt: skip
    assert not (root.parent / "escape").exists()


def test_download_checks_what_it_got(tmp_path):
    source = tmp_path / "source" / "file.bin"
    source.parent.mkdir()
    source.write_bytes(b"content")
    good = f"md5:{hashlib.md5(b'content').hexdigest()}"
    assert files.download(source.as_uri(), tmp_path / "new", good, "remedy").read_bytes() == b"content"
    with pytest.raises(UserError, match="wrong checksum"):
        files.download(source.as_uri(), tmp_path / "other", "md5:0", "remedy")
    assert not list((tmp_path / "other").iterdir())


def idx_bytes(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    draw = np.random.RandomState(0)
    arrays = [draw.randint(0, 255, (6, 28, 28)), draw.randint(0, 10, 6), draw.randint(0, 255, (3, 28, 28)), [1, 2, 3]]
    arrays = [np.array(a, np.uint8) for a in arrays]
    found = [publish(tmp_path, f.path, idx_bytes(a)) for f, a in zip(mnist.FILES, arrays, strict=True)]
    monkeypatch.setattr(mnist, "FILES", found)
    return tmp_path, arrays


def test_mnist_pads_or_resizes(small_mnist):
    root, arrays = small_mnist
    padded = Mnist(task="digit", size=32, fit="pad", **PLAIN)
    pools = padded.pools(root)
    assert padded.spec.image == (1, 32, 32)
    assert np.array_equal(pools["train"].images[:, 0, 2:-2, 2:-2].numpy(), arrays[0])
    assert pools["train"].images.sum() == arrays[0].sum()
    assert pools["test"].y.tolist() == [1, 2, 3]
    small = Mnist(task="digit", size=14, fit="resize", **PLAIN).pools(root)["test"].images
    assert small.shape == (3, 1, 14, 14)
    assert small.dtype == torch.uint8
    with pytest.raises(UserError, match=r"dataset\.size"):
        Mnist(task="digit", size=20, fit="pad", **PLAIN)


def test_mnist_fetch_unpacks_the_compressed_files(small_mnist, monkeypatch, offline):
    root, _ = small_mnist
    digests = []
    for file in mnist.FILES:
        packed = root / f"{file.path}.gz"
        packed.write_bytes(gzip.compress((root / file.path).read_bytes()))
        digests.append(files.digest_of(packed, "md5:"))
        (root / file.path).unlink()
    monkeypatch.setattr(mnist, "ARCHIVES", digests)
    data = Mnist(task="digit", size=32, fit="pad", **PLAIN)
    data.fetch(root)
    assert data.verify(root) == "6 train, 3 test"


@pytest.fixture
def small_fairface(tmp_path):
    for part, count in (("train", 4), ("val", 2)):
        (tmp_path / "fairface" / part).mkdir(parents=True)
        rows = [["file", "age", "gender", "race", "service_test"]]
        for i in range(count):
            name = f"{part}/{i + 1}.png"
            Image.new("RGB", (20, 16), (40 * i, 0, 200)).save(tmp_path / "fairface" / name)
            rows.append([name, "3-9" if i else "more than 70", "Female" if i % 2 else "Male", "Indian", "False"])
        with (tmp_path / "fairface" / f"fairface_label_{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return tmp_path


def test_fairface_task_and_attributes_come_from_the_config(small_fairface):
    data = FairFace(task="age", attributes=("race", "gender"), size=8, **PLAIN)
    assert data.spec.classes == 9
    assert data.spec.attributes == {"race": 7, "gender": 2}
    pools = data.pools(small_fairface)
    assert pools["train"].y.tolist() == [8, 1, 1, 1]
    assert pools["train"].attributes["gender"].tolist() == [0, 1, 0, 1]
    assert pools["test"].attributes["race"].tolist() == [fairface.LABELS["race"].index("Indian")] * 2
    assert pools["test"].ids.tolist() == [4, 5]
    assert pools["train"].images[2, :, 4, 4].tolist() == [80, 0, 200]
    assert len(list((small_fairface / ".cache").glob("fairface-*.done"))) == 1
    data.fetch(small_fairface)
    with pytest.raises(UserError, match=r"dataset\.attributes: age is the task"):
        FairFace(task="age", attributes=("age",), size=8, **PLAIN)


def test_fairface_damage_is_reported(small_fairface):
    data = FairFace(task="gender", attributes=("race",), size=8, **PLAIN)
    image = small_fairface / "fairface/train/3.png"
    raw = image.read_bytes()
    image.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError, match=r"paths\.data: .*train/3.png is not a readable image"):
        data.pools(small_fairface)
    image.unlink()
    with pytest.raises(UserError, match=r"paths\.data: .*train/3.png is missing"):
        data.pools(small_fairface)
    image.write_bytes(raw)
    table = small_fairface / "fairface/fairface_label_val.csv"
    text = table.read_text()
    table.write_text(text.replace("Indian", "Martian"))
    with pytest.raises(UserError, match="column race, holds 'Martian'"):
        data.pools(small_fairface)
    table.unlink()
    with pytest.raises(UserError, match=r"paths\.data: .*fairface_label_val.csv is missing"):
        data.pools(small_fairface)


@pytest.mark.skipif(not (REAL / cifar10.FOLDER).is_dir(), reason="SPLITPRIV_DATA has no CIFAR-10")
def test_real_cifar10_matches_its_spec():
    data = Cifar10(**PLAIN)
    split = data.pools(REAL)["train"]
    assert split.y.bincount().tolist() == [5000] * 10
    x = split.x(slice(0, 5000))
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.tensor(data.spec.mean), atol=0.01, rtol=0)


@pytest.mark.skipif(not (REAL / mnist.FOLDER).is_dir(), reason="SPLITPRIV_DATA has no MNIST")
def test_real_mnist_matches_its_spec():
    data = Mnist(task="digit", size=32, fit="pad", **PLAIN)
    x = data.pools(REAL)["train"].x(slice(0, 10_000))
    torch.testing.assert_close(x.mean().reshape(1), torch.tensor(data.spec.mean), atol=0.002, rtol=0)
    torch.testing.assert_close(x.std().reshape(1), torch.tensor(data.spec.std), atol=0.002, rtol=0)
