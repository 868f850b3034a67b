"""A model that is sent in: what `splitpriv push` makes, evaluated and attacked again by us. No code of it is run."""

from __future__ import annotations

import copy
import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitpriv import config, targets
from splitpriv.board import entries, kept
from splitpriv.deploy import hub, pack
from splitpriv.run.pipeline import execute
from splitpriv.run.prepare import prepare
from splitpriv.run.reopen import nested, settings_of
from splitpriv.store import Row, Store, write_atomic
from splitpriv.types import UserError

QUICK, SUITE = "gallery", "autoinvert_quick"
VICTIMS = 200
TOLERANCE = 0.05  # of the quick attack's MSE, relative, between machines
ENDINGS = (".safetensors", ".json", ".html", ".md")
CODE = ("source", "weights")  # settings by which a network would be read from elsewhere


def submit(folder: Path, about: Mapping[str, str], place: Path, overrides: Sequence[str]) -> str:
    """Evaluate a pushed folder, attack it, and write its entry under `place`; what came of it, in a line."""
    if not folder.is_dir():
        raise UserError(f"board {folder}: is no folder; `splitpriv push KEY DIR` makes one")
    home = place / "models" / about["name"]
    if home.exists():
        raise UserError(f"board {about['name']}: there is an entry of that name; choose another --name")
    names = [str(name) for name in pack.manifest(folder)["files"]]
    odd = [n for n in names if not n.endswith(ENDINGS) or (folder / n).is_symlink()]
    if odd:
        raise UserError(f"board {folder}: {odd[0]} is nothing that a push makes; send the folder as it was pushed")
    size = sum((folder / name).stat().st_size for name in names)
    small = size <= entries.WEIGHTS
    if not small and not about["source"].startswith("hf://"):
        remedy = "push it to hf://owner/name, which is then its --source"
        raise UserError(f"board {folder}: has {size / 1e6:.1f} MB, and 1 MB is kept here; {remedy}")
    quick = {"attack": QUICK, "victims": VICTIMS, "mse": 0.0}
    told: dict[str, Any] = {"kind": "model", **about, "row": "0" * 16, "chain": "none", "link": about["source"],
                            "bytes": size, "quick": quick}  # fmt: skip
    entries.checked(told, about["name"])  # before minutes are spent
    with tempfile.TemporaryDirectory() as scratch:
        row, store = opened(folder, Path(scratch) / "store", overrides)
        found = attacked(row, store, QUICK, overrides)
        quick |= {"victims": found["victims"], "mse": found[f"privacy/{QUICK}/mse"]}
        ours = attacked(row, store, SUITE, overrides)
        slim = kept.kept(ours, store, home, pictured=False)
    entry = entries.checked({**told, "row": ours["key"], "chain": row["chain"]}, about["name"])
    home.mkdir(parents=True)
    for name in [*names, pack.MANIFEST] if small else []:
        shutil.copyfile(folder / name, home / name)
    kept.append(home / entries.ROWS, slim)
    write_atomic(home / entries.ENTRY, json.dumps(entry.model_dump(), indent=1) + "\n")
    return (f"board: {home}: {row['chain']}, suite MSE {ours['privacy/suite/mse']:.5f} on {ours['victims']} victims, "
            f"{QUICK} {quick['mse']:.5f}")  # fmt: skip


def opened(folder: Path, out: Path, overrides: Sequence[str]) -> tuple[Row, Store]:
    """A store with the model of a pushed folder, whose row's numbers it gives; raise UserError where it does not."""
    row = pack.row_of(folder, pack.manifest(folder))
    require_ours(row, str(folder))
    row, differing, count = hub.pulled(folder, out, [*overrides])
    if differing or not count:
        name, (said, found) = next(iter(differing.items()), ("any number", (math.nan, math.nan)))
        raise UserError(f"board {folder}: {len(differing)} of {count} numbers are not those of its row, as {name}: "
                        f"{found:.6g} where it says {said:.6g}; push what was measured")  # fmt: skip
    return row, Store(out)


def require_ours(row: Row, where: str) -> None:
    """Raise UserError unless all that a row builds is splitpriv's own, and nothing of it read from elsewhere."""
    for key, node in targets.nodes(nested(row)):
        if not str(node["_target_"]).startswith(targets.TRUSTED):
            told = "which is not splitpriv's and is not run here; send it as a change of splitpriv first"
            raise UserError(f"board {where}: {key} is {node['_target_']}, {told}")
        read = [name for name in CODE if node.get(name)] + ["name"] * (node["_target_"] == "splitpriv.nets.own.Module")
        if read:
            raise UserError(f"board {where}: {key}.{read[0]} reads a network from elsewhere; send one of splitpriv's")


def attacked(row: Row, store: Store, attack: str, overrides: Sequence[str]) -> Row:
    """The row of another attack on the model of `row`, whose fits are in `store`, on at most VICTIMS victims."""
    cfg: dict[str, Any] = copy.deepcopy(settings_of(row, store, overrides))
    cfg["attack"] = config.compose([f"attack=[{attack}]"])["attack"]
    cfg["protocol"]["attacked"] = min(VICTIMS, cfg["protocol"]["attacked"] or VICTIMS)
    prepared = prepare(cfg)
    absent = [fit for fit in prepared.plan.fits if store.state("fit", fit) != "cached"]
    if absent:
        raise UserError(f"board: the weights of {row['key']} are not those of its config; push it again")
    return execute(prepared, store)


def again(home: Path, overrides: Sequence[str]) -> tuple[float, float]:
    """Of an accepted model: the quick attack's MSE as its entry says it, and as it is found now.

    Weights above 1 MB are fetched from where the entry links to. Raises UserError where they, or the victims, are
    others.
    """
    entry = entries.checked(json.loads((home / entries.ENTRY).read_text(encoding="utf-8")), str(home))
    assert isinstance(entry, entries.Model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = home if (home / pack.MANIFEST).is_file() else _fetched(entry, Path(scratch) / "fetched")
        row, store = opened(folder, Path(scratch) / "store", overrides)
        ours = next((each for each in kept.read([home / entries.ROWS]) if each["key"] == entry.row), None)
        if ours is None or ours["fit"] != row["fit"] or entry.chain != row["chain"]:
            raise UserError(f"board {home}: its weights are not of the model that was attacked; submit it again")
        found = attacked(row, store, entry.quick.attack, overrides)
    if found["victims"] != entry.quick.victims:
        told = f"its quick attack had {entry.quick.victims} victims, and has {found['victims']}"
        raise UserError(f"board {home}: {told}; submit it again")
    return entry.quick.mse, float(found[f"privacy/{entry.quick.attack}/mse"])


def _fetched(entry: entries.Model, into: Path) -> Path:
    source = hub.place(entry.link, "board model")
    if source.folder is not None:
        raise UserError(
            f"board {entry.name}: its weights lie neither here nor at hf://; push them there and submit again"
        )
    return hub.download(source, into)
