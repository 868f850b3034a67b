"""Tinted Fashion-MNIST: the data set that is shipped."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from splitpriv.data import idx
from splitpriv.data.base import Dataset, Split
from splitpriv.data.pools import hold_out, pools
from splitpriv.types import NonNegative, Rate, Spec, UserError, Whole

ASSETS = Path(__file__).parent / "assets"
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
TINTS = {
    "red": (255, 40, 40),
    "orange": (255, 140, 0),
    "yellow": (240, 230, 40),
    "green": (40, 200, 60),
    "cyan": (30, 215, 225),
    "blue": (60, 95, 255),
    "violet": (150, 60, 255),
    "pink": (255, 110, 190),
}


class FashionTint(Dataset):
    """The 10,000 test images of Fashion-MNIST (Xiao et al. 2017), padded to 32x32 and coloured by one of 8 tints.

    The tint is the private attribute: drawn from `seed`, independent of the class. A tint multiplies the grey value,
    so the background stays black. The pools are a seeded split of the 10,000.
    """

    ships = True
    origin = "Fashion-MNIST"
    # Measured over both pools: tests/data/test_fashion_tint.py measures them again.
    spec = Spec((3, 32, 32), 10, {"tint": len(TINTS)}, mean=(0.1365, 0.1166, 0.1133), std=(0.2555, 0.2055, 0.2333))

    def __init__(self, *, crop: Whole, flip: bool, rotation: NonNegative, test_share: Rate, seed: Whole) -> None:
        self.crop, self.flip, self.rotation = crop, flip, rotation
        self.test_share, self.seed = test_share, seed

    def pools(self, root: Path) -> dict[str, Split]:
        grey, y = _read(IMAGES), _read(LABELS)
        tint = np.random.RandomState(self.seed).randint(len(TINTS), size=len(y))  # a frozen stream, see hold_out
        images = colour(np.pad(grey, ((0, 0), (2, 2), (2, 2))), tint)
        order, train = hold_out(len(y), self.test_share, self.seed)
        return pools(
            images,
            torch.from_numpy(y.astype(np.int64)),
            {"tint": torch.from_numpy(tint.astype(np.int64))},
            train,
            order,
        )


def colour(grey: NDArray[np.uint8], tint: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Grey images (N, H, W) times the RGB of tint (N,), rounded down: (N, 3, H, W)."""
    rgb = np.array(list(TINTS.values()), np.uint16)
    table = (np.arange(256, dtype=np.uint16) * rgb[..., None] // 255).astype(np.uint8)  # (tint, channel, grey value)
    images = np.empty((len(grey), 3, *grey.shape[1:]), np.uint8)
    for value, shades in enumerate(table):
        rows = np.flatnonzero(tint == value)
        images[rows] = shades[:, grey[rows]].swapaxes(0, 1)
    return images


def _read(name: str) -> NDArray[np.uint8]:
    try:
        return idx.parse(gzip.decompress((ASSETS / name).read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(
            f"dataset: the shipped file {ASSETS / name} is damaged ({error}); reinstall splitpriv"
        ) from error
