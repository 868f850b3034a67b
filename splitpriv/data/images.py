"""Images that people bring: a folder tree, or a CSV of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from splitpriv.data import tables
from splitpriv.data.base import Dataset, Split
from splitpriv.data.decode import decoded, stat_all
from splitpriv.data.pools import hold_out, pools
from splitpriv.types import Count, NonNegative, Rate, Spec, UserError, Whole

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
REMEDY = "replace it, or take it out"


@dataclass
class Listing:
    """What is known before anything is decoded; `train` counts the files, from the front, of a given train pool."""

    files: list[Path]
    labels: list[str]
    attributes: dict[str, list[str]] = field(default_factory=dict)
    train: int | None = None


class Images(Dataset):
    """Images of any size, one label each, cropped to a centred square, resized, decoded once and cached.

    `path` is a folder with a folder per class, or with `train` and `test` that each hold one per class; or a CSV with
    columns file (relative to the CSV), label, and any number of attributes, of which `attributes` (None: all) are
    private. A column split, with the values train and test, gives the pools. Where the data do not name a test pool,
    `test_share` of the images, drawn from `seed`, is one.
    """

    def __init__(
        self,
        *,
        path: str,
        size: Count,
        channels: Literal[1, 3],
        attributes: tuple[str, ...] | None,
        test_share: Rate,
        seed: Whole,
        crop: Whole,
        flip: bool,
        rotation: NonNegative,
    ) -> None:
        self.crop, self.flip, self.rotation = crop, flip, rotation
        self.path, self.size, self.channels = Path(path).expanduser().absolute(), size, channels
        self.test_share, self.seed = test_share, seed
        listing = _list_table(self.path) if self.path.suffix.lower() == ".csv" else _list_tree(self.path)
        wanted = tuple(listing.attributes) if attributes is None else tuple(attributes)
        unknown = [name for name in wanted if name not in listing.attributes]
        if unknown:
            has = f"has {', '.join(listing.attributes)}" if listing.attributes else "has no attributes"
            raise UserError(f"dataset.attributes: {self.path} {has}, not {', '.join(unknown)}; correct the names")
        listing.attributes = {name: listing.attributes[name] for name in wanted}
        classes = sorted(set(listing.labels))
        if len(classes) < 2:
            only = f"one class only ({classes[0]})" if classes else "no images"
            raise UserError(
                f"dataset.path: {self.path} holds {only}; give two or more class folders with images, "
                "or a CSV with two or more labels"
            )
        self.listing, self.classes = listing, classes
        self.values = {name: sorted(set(column)) for name, column in listing.attributes.items()}
        mean, std = (0.5,) * channels, (0.25,) * channels
        private = {name: len(values) for name, values in self.values.items()}
        self.spec = Spec((channels, size, size), len(classes), private, mean, std)
        self.version = self._fingerprint()

    @property
    def origin(self) -> str:
        return str(self.path)

    def _fingerprint(self) -> int:
        """Changes with the files and their labels, so that results of other content are not reused."""
        sizes = [size for size, _ in stat_all(self.listing.files, "dataset.path", REMEDY)]
        names = [path.relative_to(self.path.parent).as_posix() if path.is_relative_to(self.path.parent) else str(path)
                 for path in self.listing.files]  # fmt: skip
        content = [names, sizes, self.listing.labels, self.listing.attributes, self.listing.train]
        return int(hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12], 16)

    def pools(self, root: Path) -> dict[str, Split]:
        listing = self.listing
        images = decoded(listing.files, root, label="images", size=self.size, channels=self.channels,
                         key="dataset.path", remedy=REMEDY)  # fmt: skip
        y = _codes(listing.labels, self.classes)
        attributes = {name: _codes(column, self.values[name]) for name, column in listing.attributes.items()}
        if listing.train is not None:
            return pools(images, y, attributes, listing.train)
        order, train = hold_out(len(y), self.test_share, self.seed)
        return pools(images, y, attributes, train, order)


def _codes(values: Sequence[str], names: Sequence[str]) -> Tensor:
    return torch.from_numpy(np.searchsorted(np.array(names), np.array(values)).astype(np.int64))


def _list_tree(path: Path) -> Listing:
    if not path.is_dir():
        raise UserError(f"dataset.path: {path} is no folder; give a folder with a folder per class, or a .csv file")
    if not ((path / "train").is_dir() and (path / "test").is_dir()):
        return Listing(*_list_classes(path))
    train, test = _list_classes(path / "train"), _list_classes(path / "test")
    return Listing(train[0] + test[0], train[1] + test[1], train=len(train[0]))


def _list_classes(path: Path) -> tuple[list[Path], list[str]]:
    found = [
        (file, folder.name)
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
    ]
    return [file for file, _ in found], [label for _, label in found]


def _list_table(path: Path) -> Listing:
    remedy = "give a CSV with the columns file, label and, if you like, attributes"
    columns = tables.read(path, ("file", "label"), "dataset.path", remedy)
    files = [path.parent / name for name in columns.pop("file")]
    labels, part = columns.pop("label"), columns.pop("split", None)
    if part is None:
        return Listing(files, labels, columns)
    if not set(part) <= {"train", "test"}:
        raise UserError(f"dataset.path: {path}, column split, holds more than train and test; correct it")
    order = sorted(range(len(part)), key=lambda i: part[i] == "test")
    columns = {name: [column[i] for i in order] for name, column in columns.items()}
    return Listing([files[i] for i in order], [labels[i] for i in order], columns, part.count("train"))
