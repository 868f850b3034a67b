"""Data sets that torchvision finds, checks and downloads: CIFAR-100, SVHN, CelebA."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from splitpriv.data import files, tables
from splitpriv.data.base import Dataset, Split
from splitpriv.data.decode import decoded
from splitpriv.data.pixels import Rules
from splitpriv.data.pools import pools
from splitpriv.types import Count, NonNegative, Spec, UserError, Whole

Trait = Literal[
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
]  # fmt: skip


def _open(name: str, remedy: str, *where: Any, **how: Any) -> Any:
    """torchvision.datasets.`name`, made of the other arguments; its errors in one line that ends in `remedy`."""
    try:
        library = importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise UserError(f"dataset: {name} is read by torchvision ({error}); pip install torchvision") from error
    try:
        return getattr(library, name)(*where, **how)
    except ImportError as error:  # scipy for SVHN, gdown for the download of CelebA
        raise UserError(f"dataset: {name} needs a package that is not installed ({error}); pip install it") from error
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].partition(". You can use")[0]
        raise UserError(f"paths.data: {name}: {reason}; {remedy}") from error


SUPERCLASSES = {  # of CIFAR-100; both numberings are alphabetical
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}


class Cifar100(Dataset):
    """CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images, 3x32x32.

    `task`: its 100 classes, or the 20 superclasses that they form (Cloak); the class is then the private attribute.
    """

    def __init__(self, *, task: Literal["class", "superclass"], crop: Whole, flip: bool, rotation: NonNegative) -> None:
        self.task, self.crop, self.flip, self.rotation = task, crop, flip, rotation
        mean, std = (0.50708, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615)
        classes, private = (100, {}) if task == "class" else (20, {"class": 100})
        self.spec = Spec((3, 32, 32), classes, private, mean, std)

    def pools(self, root: Path) -> dict[str, Split]:
        remedy = f"run `splitpriv data fetch cifar100`, or put the folder cifar-100-python under {root}"
        remedy += files.others(root, ["cifar100"], ["cifar-100-python"])
        train, test = (_open("CIFAR100", remedy, str(root), train=part) for part in (True, False))
        images = np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2)
        labels, count = torch.tensor(train.targets + test.targets), len(train.targets)
        if self.task == "class":
            return pools(np.ascontiguousarray(images), labels, {}, count)
        group = {name: i for i, names in enumerate(SUPERCLASSES.values()) for name in names.split()}
        coarse = torch.tensor([group[name] for name in sorted(group)])[labels]
        return pools(np.ascontiguousarray(images), coarse, {"class": labels}, count)

    def fetch(self, root: Path) -> None:
        put = f"put cifar-100-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html under {root}, run this again"
        _open("CIFAR100", put, str(root), download=True)


class Svhn(Dataset):
    """SVHN (Netzer et al. 2011), cropped digits: 73,257 + 26,032 colour images, 3x32x32, of 10 classes."""

    spec = Spec((3, 32, 32), 10, mean=(0.4377, 0.4438, 0.4728), std=(0.198, 0.201, 0.197))

    def __init__(self, *, crop: Whole, flip: bool, rotation: NonNegative) -> None:
        self.crop, self.flip, self.rotation = crop, flip, rotation

    def pools(self, root: Path) -> dict[str, Split]:
        folder = root / "svhn"
        remedy = f"run `splitpriv data fetch svhn`, or put train_32x32.mat and test_32x32.mat into {folder}"
        remedy += files.others(root, ["svhn", "32x32"], ["svhn"])
        train, test = (_open("SVHN", remedy, str(folder), split=part) for part in ("train", "test"))
        labels = torch.from_numpy(np.concatenate([train.labels, test.labels]).astype(np.int64))
        return pools(np.concatenate([train.data, test.data]), labels, {}, len(train.labels))

    def fetch(self, root: Path) -> None:
        folder = root / "svhn"
        put = f"put train_32x32.mat and test_32x32.mat of http://ufldl.stanford.edu/housenumbers into {folder}"
        for part in ("train", "test"):
            _open("SVHN", put, str(folder), split=part, download=True)


class CelebA(Dataset):
    """CelebA (Liu et al. 2015), aligned faces, centre-cropped and resized to 3 x size x size.

    `task` and the private `attributes` are any of its 40 binary attributes. The published valid part joins the train
    pool. Reads the publisher's files through torchvision, or the tables and folders that Kaggle makes of them.
    """

    def __init__(
        self, *, task: Trait, attributes: tuple[Trait, ...], size: Count, crop: Whole, flip: bool, rotation: NonNegative
    ) -> None:
        if task in attributes:
            raise UserError(f"dataset.attributes: {task} is the task already; leave it out, or change dataset.task")
        self.crop, self.flip, self.rotation = crop, flip, rotation
        self.task, self.attributes, self.size = task, tuple(attributes), size
        mean, std = (0.5061, 0.4254, 0.3828), (0.3105, 0.2903, 0.2896)
        self.spec = Spec((3, size, size), 2, dict.fromkeys(attributes, 2), mean, std)

    def pools(self, root: Path) -> dict[str, Split]:
        folder = root / "celeba"
        remedy = f"run `splitpriv data fetch celeba`, or put img_align_celeba/ and the list_*.txt files into {folder}"
        remedy += files.others(root, ["celeba", "listevalpartition"], ["celeba"])
        csvs = [(folder / f"list_{name}.csv").exists() for name in ("attr_celeba", "eval_partition")]
        if all(csvs) or (any(csvs) and not (folder / "list_attr_celeba.txt").exists()):
            remedy = f"put list_attr_celeba.csv and list_eval_partition.csv into {folder}"
            return self._from_tables(root, folder, remedy)
        parts = [_open("CelebA", remedy, str(root), split=part) for part in ("train", "valid", "test")]
        paths = [_faces(folder) / name for part in parts for name in part.filename]
        rules = Rules(self.size, 3)
        images, _ = decoded(paths, root, label="celeba", rules=rules, key="paths.data", remedy=remedy)
        names, traits = parts[0].attr_names, torch.cat([part.attr for part in parts]).long()
        columns: dict[str, Tensor] = {
            name: traits[:, names.index(name)].clone() for name in (self.task, *self.attributes)
        }
        return pools(images, columns.pop(self.task), columns, len(parts[0].filename) + len(parts[1].filename))

    def _from_tables(self, root: Path, folder: Path, remedy: str) -> dict[str, Split]:
        """The pools as Kaggle's copy has them: two CSVs, and a folder within the folder of images."""
        wanted = (self.task, *self.attributes)
        traits = tables.read(folder / "list_attr_celeba.csv", ("image_id", *wanted), "paths.data", remedy)
        parts = tables.read(folder / "list_eval_partition.csv", ("image_id", "partition"), "paths.data", remedy).columns
        part = dict(zip(parts["image_id"], parts["partition"], strict=True))
        names = traits.columns["image_id"]
        where = f"paths.data: {folder / 'list_eval_partition.csv'}, column partition,"
        pool = tables.encode([part.get(name, "") for name in names], ("0", "1", "2"), where, remedy)
        order = (pool == 2).long().argsort(stable=True)
        place = _faces(folder)
        columns: dict[str, Tensor] = {}
        for name in wanted:
            where = f"paths.data: {folder / 'list_attr_celeba.csv'}, column {name},"
            said = ("0" if "0" in traits.columns[name] else "-1", "1")  # as some copies write it, and as published
            columns[name] = tables.encode(traits.columns[name], said, where, remedy)[order]
        images, _ = decoded([place / names[i] for i in order.tolist()], root, label="celeba", rules=Rules(self.size, 3),
                            key="paths.data", remedy=f"put all images into {place}")  # fmt: skip
        return pools(images, columns.pop(self.task), columns, int((pool != 2).sum()))

    def fetch(self, root: Path) -> None:
        put = f"download it from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html into {root / 'celeba'}"
        _open("CelebA", put, str(root), split="all", download=True)


def _faces(folder: Path) -> Path:
    """The folder of images, which some archives hold within another of its name."""
    place = folder / "img_align_celeba"
    return place / place.name if (place / place.name).is_dir() else place
