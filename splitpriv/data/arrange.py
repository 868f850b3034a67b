"""From a listing to the two pools: which image is where, under which label, with which attributes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from splitpriv.data.labels import LetterCase, alike, torn
from splitpriv.data.people import apart, held_out, someone
from splitpriv.data.pools import hold_out
from splitpriv.data.reading import Reading, some
from splitpriv.data.source import Listing
from splitpriv.types import UserError


@dataclass
class Arranged:
    """Files with label and attributes; the first `train` of them, in `order` (None: as they come), are training's."""

    files: list[Path]
    labels: list[str]
    columns: dict[str, list[str]]
    train: int
    order: Tensor | None


def arrange(
    listing: Listing, *, identities: bool, letter_case: LetterCase, test_share: float, seed: int, reading: Reading
) -> Arranged:
    """The pools of a listing, counted in `reading`; UserError where they make no sense. See `images.Images`."""
    columns = dict(listing.columns)
    pool = columns.pop("split", None)
    columns = {
        name: column if name == "gallery" else alike(column, letter_case, name, reading)
        for name, column in columns.items()
    }
    people = identities or "label" not in columns
    if people:
        columns |= someone(columns, pool, reading)
    labels = columns["identity"] if people else columns.pop("label")
    if twice := torn(listing.files, labels):
        said = [f"{listing.files[at[0]]} ({' and '.join(sorted({labels[i] for i in at}))})" for at in twice]
        raise UserError(f"dataset.path: lists {some(said, 5)} under several labels; keep one of them")
    whole = Arranged(listing.files, labels, columns, len(labels), None)
    if pool is not None:
        whole = _pooled(whole, _two(pool, reading), people, reading)
    if whole.train == len(whole.labels):
        who = columns.get("identity")
        draw = held_out(who, test_share, seed) if who else hold_out(len(whole.labels), test_share, seed)
        whole.order, whole.train = draw
        of = "identities" if who else "images"
        reading.note(f"no test pool is named: a share of {test_share:g} of the {of} makes one (dataset.test_share)")
    order = range(len(whole.labels)) if whole.order is None else whole.order.tolist()
    reading.count("train", (whole.labels[i] for i in order[: whole.train]))
    reading.count("test", (whole.labels[i] for i in order[whole.train :]))
    lacking = sorted(set(reading.counts["train"]) - set(reading.counts["test"]))
    if not people and reading.counts["test"] and lacking:
        reading.note(f"no image in the test pool of {some(lacking, 5)}")
    return whole


def _two(pool: list[str], reading: Reading) -> list[bool]:
    """Which images are the test's: val is the test pool where there is no other, and joins training's else."""
    names = set(pool)
    if "train" not in names:
        raise UserError(f"dataset.path: names the pools {some(sorted(names))}, but no train; add it")
    test = {"test", "query", "gallery"} if names & {"test", "query", "gallery"} else {"val"}
    if "val" in names:
        reading.note("val is the test pool" if "val" in test else "val joins the train pool")
    return [part in test for part in pool]


def _pooled(whole: Arranged, test: list[bool], people: bool, reading: Reading) -> Arranged:
    """The same with training's images first, and without classes that training never sees."""
    labels = whole.labels
    known = {label for label, there in zip(labels, test, strict=True) if not there}
    kept = [i for i, label in enumerate(labels) if people or label in known]
    for i in sorted(set(range(len(labels))) - set(kept)) if len(kept) < len(labels) else ():
        reading.skip("images of a class that only the test pool has", f"{labels[i]}: {whole.files[i].name}")
    if any(test) and not any(test[i] for i in kept):
        raise UserError(
            f"dataset.path: no class of the test pool ({some(sorted(set(labels) - known), 5)}) is one of training "
            f"({some(sorted(known), 5)}); name their folders or labels alike"
        )
    order = sorted(kept, key=lambda i: test[i])
    columns = {name: [column[i] for i in order] for name, column in whole.columns.items()}
    train = sum(not test[i] for i in order)
    if people:
        apart(columns["identity"], train)
    elif "identity" in columns:
        shared = set(columns["identity"][:train]) & set(columns["identity"][train:])
        if shared:
            reading.note(f"{len(shared):,} identities are in both pools")
    return Arranged([whole.files[i] for i in order], [labels[i] for i in order], columns, train, None)
