"""CIFAR-10 (Krizhevsky 2009), the official binary distribution, or that for Python."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch

from splitpriv.data import files
from splitpriv.data.base import Dataset, Split
from splitpriv.data.files import Published
from splitpriv.data.pools import pools
from splitpriv.types import NonNegative, Spec, UserError, Whole

FOLDER = "cifar-10-batches-bin"
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE = "md5:c32a1d4ab5d03f1284b67883e8d87530"
TRAIN = [
    Published(f"{FOLDER}/data_batch_{i + 1}.bin", 30_730_000, f"sha1:{sha1}")
    for i, sha1 in enumerate(
        (
            "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
            "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
            "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
            "aab85764eb3584312d3c7f65fd2fd016e36a258e",
            "26e2849e66a845b7f1e4614ae70f4889ae604628",
        )
    )
]
TEST = [Published(f"{FOLDER}/test_batch.bin", 30_730_000, "sha1:67eb016db431130d61cd03c7ad570b013799c88c")]
PYTHON = "cifar-10-batches-py"  # the same images in the same order, pickled
PICKLES = [
    Published(f"{PYTHON}/{name}", 0, f"md5:{md5}")
    for name, md5 in (
        ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        ("data_batch_4", "634d18415352ddfa80567beed471001a"),
        ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
        ("test_batch", "40351d587109b95175f43aff81a1287e"),
    )
]


class Cifar10(Dataset):
    """50,000 + 10,000 colour images, 3x32x32, of 10 classes; no private attribute.

    Reads cifar-10-batches-bin, or where that is not whole cifar-10-batches-py.
    """

    spec = Spec((3, 32, 32), 10, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))

    def __init__(self, *, crop: Whole, flip: bool, rotation: NonNegative) -> None:
        self.crop, self.flip, self.rotation = crop, flip, rotation

    def pools(self, root: Path) -> dict[str, Split]:
        remedy = f"run `splitpriv data fetch cifar10`, or put the folder {FOLDER} of {URL} under {root}"
        remedy += files.others(root, ["cifar"], (FOLDER, PYTHON))
        files.check(root, _form(root), remedy)
        if _form(root) is PICKLES:
            return _unpickled(root, remedy)
        rows = np.concatenate([np.fromfile(root / file.path, np.uint8).reshape(-1, 3073) for file in TRAIN + TEST])
        images = torch.from_numpy(rows)[:, 1:].reshape(-1, 3, 32, 32).contiguous()
        train = sum(file.size for file in TRAIN) // 3073
        return pools(images, torch.from_numpy(rows[:, 0].astype(np.int64)), {}, train)

    def fetch(self, root: Path) -> None:
        put = f"put cifar-10-binary.tar.gz, or its folder {FOLDER}, under {root} and run this again"
        try:
            files.check(root, TRAIN + TEST, put)
        except UserError:
            archive = files.download(URL, root, ARCHIVE, put)
            files.unpack(archive, root / FOLDER, [Path(file.path).name for file in TRAIN + TEST])
            files.check(root, TRAIN + TEST, put)

    def verify(self, root: Path) -> str:
        files.forget(root, _form(root))
        return super().verify(root)


def _form(root: Path) -> list[Published]:
    """The files of the form that is whole, else of the one that is there; of the binary one where both or none are."""
    binary = TRAIN + TEST
    if all((root / file.path).exists() for file in binary) or not (root / PYTHON).is_dir():
        return binary
    whole = all((root / file.path).exists() for file in PICKLES)
    return PICKLES if whole or not (root / FOLDER).is_dir() else binary


def _unpickled(root: Path, remedy: str) -> dict[str, Split]:
    """The pools of pickled batches, whose checksums have shown them to be the published ones: others might run code."""
    batches = []
    for file in PICKLES:
        try:
            batches.append(pickle.loads((root / file.path).read_bytes(), encoding="bytes"))
        except (pickle.UnpicklingError, EOFError) as error:
            raise UserError(f"paths.data: {root / file.path} is damaged ({error}); delete it and {remedy}") from error
    images = torch.from_numpy(np.concatenate([batch[b"data"] for batch in batches])).reshape(-1, 3, 32, 32)
    labels = torch.tensor([label for batch in batches for label in batch[b"labels"]])
    return pools(images, labels, {}, len(labels) - len(batches[-1][b"labels"]))
