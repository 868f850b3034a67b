"""FairFace (Karkkainen and Joo, WACV 2021): faces labelled with age, gender and race; CC BY 4.0."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from splitpriv.data import files, tables
from splitpriv.data.base import Dataset, Split
from splitpriv.data.decode import decoded
from splitpriv.data.pixels import Rules
from splitpriv.data.pools import pools
from splitpriv.types import Count, NonNegative, Spec, UserError, Whole

FOLDER = "fairface"
Label = Literal["age", "gender", "race"]
LABELS: dict[Label, tuple[str, ...]] = {
    "age": ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"),
    "gender": ("Male", "Female"),
    "race": ("White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern"),
}


class FairFace(Dataset):
    """Faces, 3 x size x size; `task` is what the cloud predicts, `attributes` what it must not learn.

    Reads fairface/fairface_label_{train,val}.csv (columns file, age, gender, race) and the images that they list; the
    pool "test" is the published val. Images of any size are resized, decoded once and cached.
    """

    def __init__(
        self, *, task: Label, attributes: tuple[Label, ...], size: Count, crop: Whole, flip: bool, rotation: NonNegative
    ) -> None:
        if task in attributes:
            raise UserError(f"dataset.attributes: {task} is the task already; leave it out, or change dataset.task")
        self.crop, self.flip, self.rotation = crop, flip, rotation
        self.task, self.attributes, self.size = task, tuple(attributes), size
        private: dict[str, int] = {name: len(LABELS[name]) for name in attributes}
        # Measured over 40,000 training faces at 64x64.
        mean, std = (0.4819, 0.3578, 0.3042), (0.2551, 0.2234, 0.2175)
        self.spec = Spec((3, size, size), len(LABELS[task]), private, mean, std)

    def pools(self, root: Path) -> dict[str, Split]:
        folder = root / FOLDER
        remedy = f"put the folders train and val and both label files of FairFace into {folder} (see `data fetch`)"
        remedy += files.others(root, ["fairface"], [FOLDER])
        parts = []
        for part in ("train", "val"):
            table = tables.read(folder / f"fairface_label_{part}.csv", ("file", *LABELS), "paths.data", remedy)
            parts.append(table.columns)
        train = len(parts[0]["file"])
        columns = {name: parts[0][name] + parts[1][name] for name in ("file", *LABELS)}
        paths = [folder / name for name in columns["file"]]
        images, _ = decoded(
            paths, root, label=FOLDER, rules=Rules(self.size, 3), key="paths.data", remedy=f"restore it, or {remedy}"
        )
        code: dict[str, Tensor] = {
            name: tables.encode(columns[name], LABELS[name], f"paths.data: {folder}, column {name},", remedy)
            for name in (self.task, *self.attributes)
        }
        return pools(images, code.pop(self.task), code, train)

    def fetch(self, root: Path) -> None:
        folder = root / FOLDER
        if all((folder / f"fairface_label_{part}.csv").exists() for part in ("train", "val")):
            self.pools(root)
            return
        raise UserError(
            "paths.data: FairFace is published on Google Drive, without a direct download (links at "
            "https://github.com/joojs/fairface); put its folders train and val, fairface_label_train.csv and "
            f"fairface_label_val.csv into {folder}"
        )
