"""Re-identification sets as published: folders for training, queries and gallery, and names that say who and where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from splitpriv.data import files
from splitpriv.data.base import Dataset, Split
from splitpriv.data.decode import decoded
from splitpriv.data.pixels import Rules
from splitpriv.data.pools import pools
from splitpriv.data.reading import some
from splitpriv.types import Count, NonNegative, Spec, UserError, Whole

Part = Literal["train", "query", "gallery"]
PARTS: tuple[Part, ...] = ("train", "query", "gallery")
NAME = re.compile(r"(-?\d+)_c(\d+)")  # 0001_c001_00016450_0.jpg (VeRi), 0001_c1s1_001051_00.jpg (Market-1501)
ITEM = re.compile(r"<Item\s([^>]*)>")
FIELD = re.compile(r'(\w+)="([^"]*)"')
JUNK, DISTRACTOR = -1, 0  # Market-1501's identities of boxes that do not count, and of people that nobody seeks


class Reidentification(Dataset):
    """VeRi-776 (Liu et al. 2016), Market-1501 (Zheng et al. 2015), and what is laid out like them.

    Below `folder` each of `parts` is a folder of images called <identity>_c<camera>...; where a list name_<part>.txt is
    there (VeRi: name_train, name_query, name_test), it says which of them count. Whole images are stretched to `size`
    (height, width), decoded once and cached. Pool "train" is `parts.train`; "test" holds queries, then gallery, of
    other identities: the attribute gallery says which (0 asks, 1 is sought). `y` and the attribute identity count
    training's identities, then those of the test, in the order of their names. Boxes called -1 are left out, as the
    protocol says; each called 0000, of which there may be `distractors`, is an identity of its own, with one label
    `y` for all of them. `labels` gives further private attributes and their number of values, as VeRi's
    {train,test}_label.xml list them: color (10) and type (9).
    """

    def __init__(self, *, folder: str, parts: dict[Part, str], size: tuple[Count, Count], train_identities: Count,
                 test_identities: Count, distractors: Whole, cameras: Count, labels: dict[str, Count], source: str,
                 crop: Whole, flip: bool, rotation: NonNegative) -> None:  # fmt: skip
        lacking = [name for name in PARTS if name not in parts]
        if lacking:
            raise UserError(f".parts: lacks {', '.join(lacking)}; name the folder of each")
        self.crop, self.flip, self.rotation, self.source = crop, flip, rotation, source
        self.folder, self.parts, self.size, self.labels = folder, parts, (size[0], size[1]), dict(labels)
        self.counts = {"train": train_identities, "test": test_identities}
        self.distractors, self.cameras = distractors, cameras
        known = train_identities + test_identities
        private = {"identity": known + distractors, "camera": cameras, "gallery": 2, **self.labels}
        # Of ImageNet, as the published recipes normalise.
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.spec = Spec((3, *self.size), known + bool(distractors), private, mean, std)

    @property
    def origin(self) -> str:
        return self.folder

    def pools(self, root: Path) -> dict[str, Split]:
        remedy = f"put the folders {', '.join(self.parts.values())} of {self.source} into {root / self.folder}"
        remedy += files.others(root, [self.folder], [self.folder])
        parts = {part: self._list(root / self.folder, part, remedy) for part in PARTS}
        train, test = parts["train"], [*parts["query"], *parts["gallery"]]
        identity = torch.tensor(self._identities(train, test))
        paths = [path for path, _, _ in (*train, *test)]
        camera = torch.tensor([number - 1 for _, _, number in (*train, *test)])
        if len(camera) and not 0 <= int(camera.min()) <= int(camera.max()) < self.cameras:
            most = int(camera.max()) + 1
            raise UserError(f"dataset.cameras: the names count cameras from 1 to {most}; set dataset.cameras={most}")
        gallery = torch.tensor([1] * len(train) + [0] * len(parts["query"]) + [1] * len(parts["gallery"]))
        private = {"identity": identity, "camera": camera, "gallery": gallery}
        private |= self._labels(root / self.folder, paths, len(train), remedy)
        images, _ = decoded(paths, root, label=self.folder.replace("/", "-"), rules=Rules(self.size, 3),
                            key="paths.data", remedy=f"restore it, or {remedy}")  # fmt: skip
        return pools(images, identity.clamp(max=self.spec.classes - 1), private, len(train))

    def _list(self, home: Path, part: Part, remedy: str) -> list[tuple[Path, int, int]]:
        """(file, identity, camera) of what counts in a part, in the order of names."""
        place = home / self.parts[part]
        if not place.is_dir():
            raise UserError(f"paths.data: {place} is missing; {remedy}")
        listing = home / f"name_{'test' if part == 'gallery' else part}.txt"
        if listing.is_file():
            names = files.text(listing, remedy).split()
        else:
            names = [path.name for path in place.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
        named = [(place / name, NAME.match(name)) for name in sorted(names)]
        if odd := [path for path, match in named if not match]:
            are, them = ("is", "it") if len(odd) == 1 else ("are", "them")
            raise UserError(f"paths.data: {some(odd, 5)} {are} not called <identity>_c<camera>...; take {them} out")
        rows = [(path, int(match[1]), int(match[2])) for path, match in named if match and int(match[1]) != JUNK]
        if not rows:
            raise UserError(f"paths.data: {place} holds no images; {remedy}")
        return rows

    def _identities(self, train: Sequence[tuple[Path, int, int]], test: Sequence[tuple[Path, int, int]]) -> list[int]:
        """The index of each image's identity: training's, then the test's, then one for every distractor."""
        names = {
            "train": sorted({who for _, who, _ in train}),
            "test": sorted({who for _, who, _ in test} - {DISTRACTOR}),
        }
        shared = sorted(set(names["train"]) & set(names["test"]))
        if shared:
            raise UserError(f"dataset.parts: identities {shared[:5]} are in training and in the test; keep them apart")
        for pool, expected in self.counts.items():
            if len(names[pool]) > expected:
                key = f"dataset.{pool}_identities"
                raise UserError(
                    f"{key}: the names show {len(names[pool])}, not {expected}; set {key}={len(names[pool])}"
                )
        strangers = sum(who == DISTRACTOR for _, who, _ in test)
        if strangers > self.distractors:
            raise UserError(
                f"dataset.distractors: {strangers} boxes are called 0000; set dataset.distractors={strangers}"
            )
        index = {who: i for i, who in enumerate(names["train"])}
        index |= {who: i for i, who in enumerate(names["test"], start=self.counts["train"])}
        nobody = iter(range(sum(self.counts.values()), self.spec.attributes["identity"]))
        return [index[who] for _, who, _ in train] + [
            next(nobody) if who == DISTRACTOR else index[who] for _, who, _ in test
        ]

    def _labels(self, home: Path, paths: Sequence[Path], train: int, remedy: str) -> dict[str, Tensor]:
        """Attributes that VeRi's label files list, counted from 0."""
        if not self.labels:
            return {}
        said: list[dict[str, dict[str, str]]] = []
        for pool in ("train", "test"):
            path = home / f"{pool}_label.xml"
            if not path.is_file():
                raise UserError(f"dataset.labels: {path} is missing; {remedy}, or set dataset.labels={{}}")
            items = [dict(FIELD.findall(item)) for item in ITEM.findall(path.read_text(encoding="latin-1"))]
            said.append({item.get("imageName", ""): item for item in items})  # declared as GB2312, which is no matter
        attributes, problems = {}, []
        for name, values in self.labels.items():
            column = [said[i >= train].get(file.name, {}).get(f"{name}ID", "") for i, file in enumerate(paths)]
            known = {str(value) for value in range(1, values + 1)}
            wrong = [f"{file.name} has {name}ID={value!r}" for file, value in zip(paths, column, strict=True)
                     if value.lstrip("0") not in known]  # fmt: skip
            if wrong:
                problems.append(
                    f"dataset.labels: {some(wrong, 5)}, not 1..{values}; correct the number of {name} in "
                    "dataset.labels, or the label file"
                )
            else:
                attributes[name] = torch.tensor([int(value) - 1 for value in column])
        if problems:
            raise UserError(*problems)
        return attributes

    def fetch(self, root: Path) -> None:
        home = root / self.folder
        if not all((home / place).is_dir() for place in self.parts.values()):
            raise UserError(
                f"paths.data: {self.folder} is given on request only ({self.source}); put its folders "
                f"{', '.join(self.parts.values())} into {home}"
            )
        self.pools(root)
