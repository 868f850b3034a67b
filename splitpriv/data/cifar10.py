"""CIFAR-10 (Krizhevsky 2009), the official binary distribution."""

from __future__ import annotations

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


class Cifar10(Dataset):
    """50,000 + 10,000 colour images, 3x32x32, of 10 classes; no private attribute."""

    spec = Spec((3, 32, 32), 10, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))

    def __init__(self, *, crop: Whole, flip: bool, rotation: NonNegative) -> None:
        self.crop, self.flip, self.rotation = crop, flip, rotation

    def pools(self, root: Path) -> dict[str, Split]:
        remedy = f"run `splitpriv data fetch cifar10`, or put the folder {FOLDER} of {URL} under {root}"
        files.check(root, TRAIN + TEST, remedy)
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
        files.forget(root, TRAIN + TEST)
        return super().verify(root)
