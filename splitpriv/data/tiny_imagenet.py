"""Tiny ImageNet (Le and Yang 2015, CS231n): 200 classes of ImageNet at 64x64, as published or rearranged."""

from __future__ import annotations

from pathlib import Path

from splitpriv.data import files, tables
from splitpriv.data.base import Dataset, Split
from splitpriv.data.decode import decoded
from splitpriv.data.pixels import ENDINGS, Rules
from splitpriv.data.pools import pools
from splitpriv.data.reading import some
from splitpriv.types import Count, NonNegative, Spec, UserError, Whole

FOLDER = "tiny-imagenet-200"
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"


class TinyImageNet(Dataset):
    """100,000 + 10,000 colour images, 3x64x64, resized to `size`, of 200 classes; no private attribute.

    Reads train/<class>/images/ and val/images/ with val/val_annotations.txt; val/ may be in class folders, too. The
    pool "test" is the published val, as in CEM: the published test has no labels, and is not read. `classes` is 200,
    or fewer for a part of it.
    """

    def __init__(self, *, size: Count, classes: Count, crop: Whole, flip: bool, rotation: NonNegative) -> None:
        self.crop, self.flip, self.rotation, self.size = crop, flip, rotation, size
        mean, std = (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)
        self.spec = Spec((3, size, size), classes, {}, mean, std)

    def pools(self, root: Path) -> dict[str, Split]:
        folder = root / FOLDER
        remedy = f"unpack {URL} into {root}" + files.others(root, ["tinyimagenet"], [FOLDER])
        train = [(file, name) for name, place in _classes(folder / "train", remedy) for file in _images(place)]
        names = sorted({name for _, name in train})
        if len(names) != self.spec.classes:
            raise UserError(
                f"dataset.classes: {folder / 'train'} has {len(names)} classes with images, not {self.spec.classes}; "
                f"{remedy}, or set dataset.classes={len(names)} for a part of it"
            )
        rows = [*train, *_validation(folder / "val", names, remedy)]
        paths = [file for file, _ in rows]
        labels = tables.encode([name for _, name in rows], names, f"paths.data: {folder / 'val'}", remedy)
        images, _ = decoded(paths, root, label=FOLDER, rules=Rules(self.size, 3), key="paths.data",
                            remedy=f"restore it, or {remedy}")  # fmt: skip
        return pools(images, labels, {}, len(train))

    def fetch(self, root: Path) -> None:
        if not (root / FOLDER).is_dir():
            raise UserError(f"paths.data: {root / FOLDER} is missing; unpack {URL} into {root} and run this again")
        self.pools(root)


def _classes(place: Path, remedy: str) -> list[tuple[str, Path]]:
    if not place.is_dir():
        raise UserError(f"paths.data: {place} is missing; {remedy}")
    return [(folder.name, folder) for folder in sorted(place.iterdir())
            if folder.is_dir() and not folder.name.startswith(".")]  # fmt: skip


def _images(place: Path) -> list[Path]:
    """Images of a class folder, in images/ or not."""
    place = place / "images" if (place / "images").is_dir() else place
    return [file for file in sorted(place.iterdir())
            if file.suffix.lower() in ENDINGS and not file.name.startswith(".")]  # fmt: skip


def _validation(place: Path, names: list[str], remedy: str) -> list[tuple[Path, str]]:
    """Labelled images of val/, by its list or by class folders, whichever way it stands."""
    within = place / "images" if (place / "images").is_dir() else place
    sorted_in = [(file, name) for name, folder in _classes(within, remedy) if name in names for file in _images(folder)]
    if sorted_in:
        return sorted_in
    listing = place / "val_annotations.txt"
    if not listing.is_file():
        raise UserError(f"paths.data: {listing} is missing, and {place} has no class folders; {remedy}")
    rows = [line.split("\t") for line in files.text(listing, remedy).splitlines() if line.strip()]
    if short := [str(i) for i, row in enumerate(rows, 1) if len(row) < 2]:
        raise UserError(f"paths.data: {listing}, line {some(short, 5)}, names no file and class; {remedy}")
    return [(within / row[0], row[1]) for row in sorted(rows)]
