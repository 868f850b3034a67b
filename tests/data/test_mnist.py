"""MNIST's two tasks, on four synthetic digits."""

import hashlib
import struct

import numpy as np
import pytest
import torch

from splitpriv.data import mnist
from splitpriv.data.files import Published
from splitpriv.data.mnist import Mnist

PLAIN = {"size": 32, "fit": "pad", "crop": 0, "flip": False, "rotation": 0.0}


@pytest.fixture
def root(tmp_path, monkeypatch):
    digits = np.array([5, 6, 0, 9, 7, 5], np.uint8)
    arrays = [np.zeros((4, 28, 28), np.uint8), digits[:4], np.ones((2, 28, 28), np.uint8), digits[4:]]
    found = []
    for file, array in zip(mnist.FILES, arrays, strict=True):
        raw = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(raw)
        found.append(Published(file.path, len(raw), f"sha1:{hashlib.sha1(raw).hexdigest()}"))
    monkeypatch.setattr(mnist, "FILES", found)
    return tmp_path


def test_above_five_leaves_the_digit_as_the_secret(root):
    data = Mnist(task="above_five", **PLAIN)
    pools = data.pools(root)
    assert (data.spec.classes, data.spec.attributes) == (2, {"digit": 10})
    assert pools["train"].y.tolist() == [0, 1, 0, 1]
    assert pools["test"].y.tolist() == [1, 0]
    assert pools["test"].attributes["digit"].tolist() == [7, 5]
    assert pools["train"].y.dtype == torch.int64


def test_the_digit_is_the_task_unless_said_otherwise(root):
    data = Mnist(task="digit", **PLAIN)
    pools = data.pools(root)
    assert (data.spec.classes, data.spec.attributes) == (10, {})
    assert pools["train"].y.tolist() == [5, 6, 0, 9]
    assert pools["test"].attributes == {}
