"""What is not seen from one class alone: data sets are read, and a whole small run is made with the option in it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from splitpriv import config, track
from splitpriv.config import Config
from splitpriv.contract.base import DECODER, SMALL, LeftOutError, few, require, require_json, require_valued
from splitpriv.contract.yamls import words
from splitpriv.data.base import Dataset, Split
from splitpriv.run import pipeline
from splitpriv.run.plan import preview
from splitpriv.run.prepare import check, prepare
from splitpriv.store import Row, Store
from splitpriv.tables import cells, shipped
from splitpriv.targets import build
from splitpriv.types import UserError


def _made(cfg: Config, folder: str) -> tuple[Row, Store]:
    cfg = {**cfg, "paths": {**cfg["paths"], "outputs": folder}}
    store = Store(Path(folder))
    return pipeline.execute(prepare(cfg), store), store


def _small(group: str, option: str) -> Config:
    """A run of a second with one option in it."""
    base = [w for w in SMALL if not w.startswith((f"{group}=", f"{group}."))]
    own = words(group, option)
    if group == "attack":
        cfg = config.compose([*base, *own])
        return {**cfg, "attack": {name: few(node) for name, node in cfg["attack"].items()}}
    return config.compose([*base, *DECODER, *own])


def makes_a_run(group: str, option: str) -> None:
    """A whole small run with it in it ends with a row, which is the answer when it is asked for again."""
    cfg = _small(group, option)
    require_valued({k: v for k, v in cfg.items() if k != "paths"}, "")
    if group == "dataset":
        _read(cfg)
    with tempfile.TemporaryDirectory() as folder:
        row, store = _made(cfg, folder)
        require_json({k: v for k, v in row.items() if not isinstance(v, float)}, "its row")
        headline = row.get(f"utility/{row['headline']}")
        require(headline is not None, f"the row has no utility/{row['headline']}, which the task calls its headline")
        require(preview(prepare(cfg), store)[1] == "cached", "the finished run is not found again: its key is "
                                                                      "another each time")  # fmt: skip


def _read(cfg: Config) -> tuple[Dataset, dict[str, Split]]:
    """A data set and its pools; raise LeftOutError where its files are not here."""
    dataset: Dataset = build(cfg["dataset"], "dataset")()
    try:
        return dataset, dataset.pools(Path(cfg["paths"]["data"]))
    except UserError as error:
        raise LeftOutError("; ".join(error.problems)) from error


def is_read(option: str) -> None:
    """What it reads fits what it says before: images, labels and attributes; and it reads the same twice."""
    cfg = config.compose([f"dataset={option}"])
    require_valued(cfg["dataset"], "dataset")
    dataset, pools = _read(cfg)
    root, spec = Path(cfg["paths"]["data"]), dataset.spec
    require({"train", "test"} <= set(pools), f"its pools are {', '.join(pools)}, not train and test")
    ids = torch.cat([split.ids for split in pools.values()])
    require(len(ids.unique()) == len(ids), "an id is of several images, so that no split can be told from another")
    for name, split in pools.items():
        x = split.x(slice(0, 64))
        require(
            tuple(x.shape[1:]) == spec.image, f"{name}: images are {tuple(x.shape[1:])}, its spec says {spec.image}"
        )
        known = spec.entropy is not None  # a law of its own may leave [0, 1]
        require(known or (x.min() >= 0 and x.max() <= 1), f"{name}: pixels are not in [0, 1]")
        require(split.y.dtype == torch.int64 and split.y.min() >= 0 and split.y.max() < spec.classes,
                f"{name}: labels are not whole numbers below {spec.classes}")  # fmt: skip
        given, wanted = sorted(split.attributes), sorted(spec.attributes)
        require(given == wanted, f"{name}: attributes are {given}, its spec says {wanted}")
        for attribute, values in split.attributes.items():
            require(values.min() >= 0 and values.max() < spec.attributes[attribute],
                    f"{name}: {attribute} has values beyond {spec.attributes[attribute]}")  # fmt: skip
    again: Dataset = build(cfg["dataset"], "dataset")()
    require(again.content(root) == dataset.content(root), "its content is another when it is asked again")
    same = torch.equal(again.pools(root)["train"].x(slice(0, 64)), pools["train"].x(slice(0, 64)))
    require(same, "it reads other images each time; draw from a generator of its own")


def records(option: str) -> None:
    """It records a finished run in a process of its own, and does not do so twice."""
    cfg = config.compose([*SMALL, *DECODER, f"track=[{option}]"])
    require_valued(cfg["track"], "track")
    with tempfile.TemporaryDirectory() as folder:
        row, store = _made({**cfg, "track": {}}, folder)
        said = track.record(row, cfg["track"], store)
        if said:
            raise UserError(*said)
        for name in cfg["track"]:
            home = store.root / "track" / name
            require(list(home.glob("*.done")), f"it left no mark in {home.name}, so that it would record a run again")


def plans(option: str) -> None:
    """It loads, and at its smallest scale every row can run."""
    table = shipped.load(option)
    scale = next(iter(table.scales))
    listed = cells.expand(table, scale, cells.Extra())
    require(listed, f"at {scale} it has no rows")
    once = {cell.row: cell for cell in listed}
    for row, cell in once.items():
        told = cell.problems
        if not told and not cell.where:
            try:
                told = check(config.compose(cell.overrides))
            except UserError as error:
                told = error.problems
        require(not told, f"{row}: {'; '.join(told)}")
