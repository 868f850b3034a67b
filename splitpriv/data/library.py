"""A library: every image is one of a known, finite set, so that the best of all attacks is an exact sum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splitpriv.data.base import Dataset, Signal, Split
from splitpriv.data.pools import hold_out, pools
from splitpriv.stats import library
from splitpriv.types import Count, NonNegative, Rate, UserError, Whole

DRAWS = 2048  # releases that the MMSE is averaged over, at least


class Library(Dataset):
    """`samples` draws, with replacement and equally likely, from `count` images of the train pool of `source`.

    Both pools, and so the adversary's aux, show images of the library; ids name the draws, so splits are disjoint in
    draws and not in images. `least_error` is exact for any edge behind which the chain adds Gaussian noise. All draws
    come from `seed`. Raises UserError where the source has fewer images.
    """

    def __init__(self, *, source: Callable[[], Dataset], count: Count, samples: Count, test_share: Rate, seed: Whole,
                 crop: Whole, flip: bool, rotation: NonNegative) -> None:  # fmt: skip
        self.source, self.count, self.samples, self.test_share, self.seed = source(), count, samples, test_share, seed
        self.spec, self.crop, self.flip, self.rotation = self.source.spec, crop, flip, rotation

    @property
    def origin(self) -> str:
        return self.source.origin

    def shelf(self, root: Path) -> Split:
        """The library itself, `count` images."""
        whole = self.source.read(root)["train"]
        if len(whole) < self.count:
            raise UserError(f"dataset.count: {self.count} images are more than the source has, {len(whole)}; lower it")
        return whole.take(slice(0, self.count))

    def pools(self, root: Path) -> dict[str, Split]:
        drawn = np.random.RandomState(self.seed).randint(self.count, size=self.samples)
        split = self.shelf(root).take(torch.from_numpy(drawn.astype(np.int64)))
        order, train = hold_out(self.samples, self.test_share, self.seed)
        return pools(split.images, split.y, split.attributes, train, order)

    def least_error(self, root: Path, signal: Signal, std: Tensor | float) -> dict[str, float]:
        shelf = self.shelf(root).to(std.device if isinstance(std, Tensor) else "cpu")
        x = shelf.x(slice(None))
        estimate = library.mmse(x, signal(x), std, draws=-(-DRAWS // len(x)))
        return {"library_mmse": estimate.mse, "library_mmse_error": estimate.error}
