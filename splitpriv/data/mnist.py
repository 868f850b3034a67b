"""MNIST (LeCun, Cortes, Burges), the published idx files."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from splitpriv.data import files, idx
from splitpriv.data.base import Dataset, Split
from splitpriv.data.files import Published
from splitpriv.data.pools import pools
from splitpriv.types import Count, NonNegative, Spec, UserError, Whole

FOLDER = "MNIST/raw"
URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # the publisher's page no longer serves the files
FILES = [
    Published(f"{FOLDER}/train-images-idx3-ubyte", 47_040_016, "md5:6bbc9ace898e44ae57da46a324031adb"),
    Published(f"{FOLDER}/train-labels-idx1-ubyte", 60_008, "md5:a25bea736e30d166cdddb491f175f624"),
    Published(f"{FOLDER}/t10k-images-idx3-ubyte", 7_840_016, "md5:2646ac647ad5339dbf082846283269ea"),
    Published(f"{FOLDER}/t10k-labels-idx1-ubyte", 10_008, "md5:27ae3e4e09519cfbb04c329615203637"),
]
ARCHIVES = [  # the same four, compressed
    "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "md5:9fb629c4189551a2d022fa330f9573f3",
    "md5:ec29112dd5afa0611ce80d1b7f02629c",
]
MEAN, STD = 0.1307, 0.3081  # at 28x28


class Mnist(Dataset):
    """60,000 + 10,000 grey digits, 28x28, brought to 1 x size x size by zero padding or by resizing.

    `task` above_five asks whether the digit is above five (Cloak); the digit itself is then the private attribute.
    """

    def __init__(
        self, *, task: Literal["digit", "above_five"], size: Count, fit: Literal["pad", "resize"], crop: Whole,
        flip: bool, rotation: NonNegative,
    ) -> None:  # fmt: skip
        if fit == "pad" and size < 28:
            raise UserError(f"dataset.size: {size} is below 28, and padding only enlarges; set dataset.fit=resize")
        self.crop, self.flip, self.rotation = crop, flip, rotation
        self.task, self.size, self.fit = task, size, fit
        share = (28 / size) ** 2 if fit == "pad" else 1.0
        mean = MEAN * share
        std = ((STD**2 + MEAN**2) * share - mean**2) ** 0.5
        classes, private = (10, {}) if task == "digit" else (2, {"digit": 10})
        self.spec = Spec((1, size, size), classes, private, mean=(mean,), std=(std,))

    def pools(self, root: Path) -> dict[str, Split]:
        remedy = f"run `splitpriv data fetch mnist`, or put the four files of {URL} into {root / FOLDER}"
        remedy += files.others(root, ["mnist"], ("MNIST",))
        forms = [(file, _other_form(root, file)) for file in FILES]
        files.check(root, [file for file, other in forms if other is None], remedy)
        x, y, x_test, y_test = (
            idx.parse((root / file.path).read_bytes() if other is None else _checked(other, file, remedy))
            for file, other in forms
        )
        labels = torch.from_numpy(np.concatenate([y, y_test]).astype(np.int64))
        images = torch.from_numpy(np.concatenate([x, x_test]))[:, None]
        if self.task == "digit":
            return pools(self._fit(images), labels, {}, len(y))
        return pools(self._fit(images), (labels > 5).long(), {"digit": labels}, len(y))

    def _fit(self, images: Tensor) -> Tensor:
        if self.fit == "pad":
            before = (self.size - 28) // 2
            after = self.size - 28 - before
            return F.pad(images, (before, after, before, after))
        if self.size == 28:
            return images
        shape = (self.size, self.size)
        return torch.cat([F.interpolate(part, shape, mode="bilinear", antialias=True) for part in images.split(5000)])

    def fetch(self, root: Path) -> None:
        folder = root / FOLDER
        for file, digest in zip(FILES, ARCHIVES, strict=True):
            put = f"put {Path(file.path).name}, or the same with .gz, into {folder} and run this again"
            try:
                files.check(root, [file], put)
            except UserError:
                archive = files.download(f"{URL}{Path(file.path).name}.gz", folder, digest, put)
                files.write(root / file.path, io.BytesIO(gzip.decompress(archive.read_bytes())))
                files.check(root, [file], put)

    def verify(self, root: Path) -> str:
        files.forget(root, FILES)
        return super().verify(root)


def _other_form(root: Path, file: Published) -> Path | None:
    """The same file by another name or compressed, as publishers of copies leave it; None where ours is there, or none.

    Names with a dot before idx, .gz, a folder around the file that has its name, and the folders MNIST, mnist and raw.
    """
    if (root / file.path).is_file():
        return None
    name = Path(file.path).name
    places = [root / FOLDER, *(root / place for place in ("MNIST", "mnist/raw", "mnist", "raw")), root]
    for place in places:
        for form in (name, name.replace("-idx", ".idx")):
            for path in (place / form, place / form / form, place / f"{form}.gz", place / form / name):
                if path.is_file():
                    return path
    return None


def _checked(path: Path, file: Published, remedy: str) -> bytes:
    """The content of a file in another form, which must be the published one."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            raw = stream.read(file.size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"paths.data: {path} is damaged ({error}); delete it and {remedy}") from error
    algorithm = file.digest.partition(":")[0]
    if f"{algorithm}:{hashlib.new(algorithm, raw, usedforsecurity=False).hexdigest()}" != file.digest:
        raise UserError(f"paths.data: {path} is not the published {Path(file.path).name}; delete it and {remedy}")
    return bytes(raw)
