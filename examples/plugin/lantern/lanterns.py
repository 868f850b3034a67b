"""A data set: a lantern shines somewhere in the dark; where it stands is private."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from splitpriv.data.base import Dataset, Split
from splitpriv.data.pools import hold_out, pools
from splitpriv.types import Count, Rate, Spec, Whole


class Lanterns(Dataset):
    """`samples` images (3, size, size) of one light before a dark noise, all drawn from `seed`.

    The label is its colour, red, green or blue; the private attribute "side" says in which half it stands. A data set
    of files reads them under `root` in `pools`, and raises UserError with what to put where if they are not there.
    """

    crop, flip, rotation = 0, False, 0.0  # no augmentation

    def __init__(self, *, size: Count, samples: Count, test_share: Rate, seed: Whole) -> None:
        self.size, self.samples, self.test_share, self.seed = size, samples, test_share, seed
        self.spec = Spec((3, size, size), 3, {"side": 2}, (0.1,) * 3, (0.15,) * 3)

    def label(self, y: int) -> str:
        return ("red", "green", "blue")[y]

    def pools(self, root: Path) -> dict[str, Split]:
        draw = np.random.RandomState(self.seed)
        colour = draw.randint(0, 3, self.samples)
        place = draw.uniform(0.2, 0.8, (2, self.samples, 1, 1)) * self.size
        rows, columns = np.mgrid[: self.size, : self.size] + 0.5
        glow = np.exp(-((rows - place[0]) ** 2 + (columns - place[1]) ** 2) / (0.02 * self.size**2))
        images = 0.05 * draw.uniform(size=(self.samples, 3, self.size, self.size))
        images[np.arange(self.samples), colour] += 0.9 * glow
        side = (place[1, :, 0, 0] > self.size / 2).astype(np.int64)
        order, train = hold_out(self.samples, self.test_share, self.seed)
        x = torch.from_numpy(images.astype(np.float32))
        y = torch.from_numpy(colour.astype(np.int64))
        return pools(x, y, {"side": torch.from_numpy(side)}, train, order)
