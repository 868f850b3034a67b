"""Images that people bring: a folder tree, or a CSV of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from splitpriv.data import contents, from_table, from_tree
from splitpriv.data.arrange import arrange
from splitpriv.data.base import Dataset, Split
from splitpriv.data.decode import Census, decoded, stat_all
from splitpriv.data.labels import LetterCase, torn
from splitpriv.data.layouts import Layout
from splitpriv.data.people import GALLERY
from splitpriv.data.pixels import DARK, Rules
from splitpriv.data.pools import pools
from splitpriv.data.reading import Reading, shown, some
from splitpriv.data.source import Source
from splitpriv.data.walk import no_system
from splitpriv.types import Count, NonNegative, Rate, Spec, UserError, Whole, typed

REMEDY = "replace it, or take it out"
TABLES = (".csv", ".tsv", ".txt")
Level = Annotated[int, Interval(ge=0, le=255)]


class Images(Dataset):
    """Images of any size, one label each, brought to `size`, decoded once and cached.

    `path` is a folder with a folder per class, or with folders whose names say train, val or test in any usual
    spelling, which hold one per class; or a table with columns file (relative to it), label, and any number of
    attributes, of which `attributes` (None: all) are private; its column split gives the pools. val joins the train
    pool beside a test pool, and is the test pool else; without either, `test_share` of the images, drawn from `seed`,
    is. With `layout` classes every folder is a class. `pattern`, a regular expression or a name among
    `from_tree.PATTERNS`, reads columns from the names of files and folders instead, by its named groups. `labels.alike`
    says when two labels are one. `reading` tells what was found, and what was left out and why.

    With `identities`, or a table that has identity but no label, the label is who or what is seen: pools share none,
    and the attributes identity, camera and gallery are those of re-identification (see `people`). Beside a label,
    identity is an attribute, by which whole identities are held out.

    Pixels are read as `pixels.Rules` says: `size`, `channels`, `background`, `value_range`, `max_pixels`. More than
    `max_entries` files and folders are refused.
    """

    version = 2
    duplicates = "group"
    unkeyed = ("path",)
    reading: Reading

    def __init__(
        self,
        *,
        path: str,
        size: Count | tuple[Count, Count],
        channels: Literal[1, 3],
        attributes: tuple[str, ...] | None,
        identities: bool,
        layout: Layout,
        pattern: str | None,
        letter_case: LetterCase,
        background: Level | tuple[Level, Level, Level],
        value_range: tuple[float, float] | None,
        max_pixels: Count,
        max_entries: Count,
        test_share: Rate,
        seed: Whole,
        crop: Whole,
        flip: bool,
        rotation: NonNegative,
    ) -> None:
        if value_range is not None and not value_range[0] < value_range[1]:
            raise UserError(f".value_range: {list(value_range)} is empty; give the value of black, then that of white")
        self.crop, self.flip, self.rotation = crop, flip, rotation
        self.path = _place(path)
        colour = (background, background, background) if isinstance(background, int) else background
        self.rules = Rules(size, channels, colour, value_range, max_pixels)
        self.reading = Reading()
        source = Source(self.path, layout, pattern, identities, max_entries)
        read = from_tree.listing if _folder(self.path) else from_table.listing
        arranged = arrange(read(source, self.reading), identities=identities, letter_case=letter_case,
                           test_share=test_share, seed=seed, reading=self.reading)  # fmt: skip
        self.found, self.classes = arranged, sorted(set(arranged.labels))
        people = arranged.columns.get("identity") == arranged.labels
        wanted = _wanted(attributes, list(arranged.columns), people, self.path)
        arranged.columns = {name: arranged.columns[name] for name in wanted}
        if len(self.classes) < 2:
            only = f"one class only ({shown(self.classes[0])})" if self.classes else "no images"
            raise UserError(
                f"dataset.path: {shown(self.path)} holds {only}; give two or more class folders with images, "
                "or a CSV with two or more labels"
            )
        self.values = {name: sorted(set(column)) for name, column in arranged.columns.items()}
        for name in (name for name, values in self.values.items() if len(values) == len(arranged.files)):
            self.reading.note(f"every image has a value of its own in {shown(name)}, which counts as an attribute")
        if people:
            self.values["gallery"] = list(GALLERY)
        shape = (size, size) if isinstance(size, int) else size
        private = {name: len(values) for name, values in self.values.items()}
        self.spec = Spec((channels, *shape), len(self.classes), private, (0.5,) * channels, (0.25,) * channels)
        stat_all(arranged.files, "dataset.path", REMEDY)

    @property
    def origin(self) -> str:
        return str(self.path)

    def label(self, y: int) -> str:
        return shown(self.classes[y])

    def content(self, root: Path) -> str:
        """Changes with what the files hold and with their labels, whatever they are called and wherever they lie."""
        arranged = self.found
        held = contents.hashes(arranged.files, root, key="dataset.path", remedy=REMEDY)
        if twice := torn(held, arranged.labels):
            first = [sorted({arranged.labels[i]: i for i in reversed(at)}.items())[:2] for at in twice]
            said = [" and ".join(f"{arranged.files[i].name} of {label}" for label, i in pair) for pair in first]
            self.reading.note(f"{len(twice):,} pictures are there under several labels ({some(said, 3)})")
        told = [held, arranged.labels, arranged.columns, arranged.train]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def pools(self, root: Path) -> dict[str, Split]:
        arranged = self.found
        images, census = decoded(
            arranged.files, root, label="images", rules=self.rules, key="dataset.path", remedy=REMEDY
        )
        self.reading.files = census.facts()
        if census.brightest < DARK and self.rules.value_range is None:
            raise _dark(census)
        y = _codes(arranged.labels, self.classes)
        attributes = {name: _codes(column, self.values[name]) for name, column in arranged.columns.items()}
        return pools(images, y, attributes, arranged.train, arranged.order)


def _place(path: str) -> Path:
    if not path.strip():
        raise UserError("dataset.path: is empty; give a folder with a folder per class, or a .csv file")
    return typed(path, "dataset.path").absolute()


def _folder(path: Path) -> bool:
    if path.is_dir():
        return True
    if not path.exists() and path.suffix.lower() not in TABLES:
        raise UserError(
            f"dataset.path: {shown(path)} is no folder; give a folder with a folder per class, or a .csv file"
        )
    if path.suffix.lower() not in (*TABLES, ""):
        raise UserError(
            f"dataset.path: {shown(path)} is neither a folder nor a table ({', '.join(TABLES)}); unpack or convert it"
        )
    no_system(path, "dataset")
    return False


def _wanted(attributes: Sequence[str] | None, names: list[str], people: bool, path: Path) -> list[str]:
    """The private attributes among the columns `names`; of people always who, where and who asks."""
    if attributes is None:
        return names
    if unknown := [name for name in attributes if name not in names]:
        has = f"has {', '.join(names)}" if names else "has no attributes"
        raise UserError(f"dataset.attributes: {shown(path)} {has}, not {', '.join(unknown)}; correct the names")
    always = ("identity", "camera", "gallery") if people else ()
    return [name for name in names if name in attributes or name in always]


def _dark(census: Census) -> UserError:
    return UserError(
        f"dataset.value_range: values reach from {census.low:g} to {census.high:g} only, which shows as black "
        f"({', '.join(census.kinds)}; the brightest pixel of all is {census.brightest} of 255); "
        f"set it to [{census.low:g},{census.high:g}] or to the range that was meant"
    )


def _codes(values: Sequence[str], names: Sequence[str]) -> Tensor:
    return torch.from_numpy(np.searchsorted(np.array(names), np.array(values)).astype(np.int64))
