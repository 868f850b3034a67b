"""What trackers share: a run as curves, settings, numbers and pictures. Imports no torch: it would sit beside a run."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from splitpriv.measure.pictures import Shown, read, read_scores
from splitpriv.measure.verdict import verdict
from splitpriv.metrics import GROUPS
from splitpriv.report.terminal import scores_of
from splitpriv.store import Row, Store
from splitpriv.types import NonNegative


class Tracker:
    """Records one run somewhere, in a process that serves this run only.

    `patience`: seconds that a single run waits for it at its end. A `live` tracker is there from the run's beginning
    and gets the points of its curves as they come; any other starts when the row is finished.
    """

    live = False

    def __init__(self, *, patience: NonNegative) -> None:
        self.patience = patience

    def is_off(self) -> bool:
        """Whether its user has switched it off elsewhere; nothing is recorded then, and may be later."""
        return False

    def run_id(self, key: str, alone: bool) -> str:
        """The name under which the run with this key is recorded; `alone`: it is no point of a sweep of ours."""
        return key

    def begin(self, run_id: str, head: Row, home: Path, sent: int) -> int:
        """Open the record in `home`, or reopen it with `sent` points inside; how many points it turns out to hold."""
        raise NotImplementedError

    def add(self, index: int, curve: str, step: int, values: dict[str, float]) -> None:
        """Record one point, the `index`-th of the run."""

    def flush(self) -> bool:
        """Whether every point added so far would survive a kill of this process."""
        return False

    def complete(self, row: Row, store: Store) -> None:
        """Record what only a finished row knows."""
        raise NotImplementedError

    def end(self, finished: bool) -> None:
        """Close the record of a run that `finished`, or that a later command will resume."""


# ---- a run as curves, settings, numbers and pictures ----------------------------------------------------------------


def trajectory(head: Row, store: Store) -> list[dict[str, Any]]:
    """The notes of every epoch trained so far: a beginning of the finished row's `trajectory`."""
    notes: list[dict[str, Any]] = []
    for key in head.get("fit", []):
        home = store.home("fit", key)
        done = (home / "done").exists()  # asked first, so that what is read afterwards is whole
        path = home / "curve.json"
        if path.exists():
            notes += _read(path, path.stat().st_mtime_ns)
        if not done:
            break
    return notes


@functools.lru_cache(maxsize=16)
def _read(path: Path, stamp: int) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def curves(row: Row) -> Iterator[tuple[str, int, dict[str, float]]]:
    """(name, step, values) of every point of every learning curve: each phase of the fit, then each attack."""
    for step, note in enumerate(row.get("trajectory", [])):
        values = {k: v for k, v in note.items() if isinstance(v, int | float) and k not in ("phase", "epoch")}
        yield f"fit/{note.get('phase', '')}", step, values
    keys = [key.split("/", 2) for key, value in row.items() if key.startswith("attack/") and _is_curve(value)]
    for name in dict.fromkeys(parts[1] for parts in keys if len(parts) == 3):
        lines = {parts[2]: row["/".join(parts)] for parts in keys if parts[1] == name and len(parts) == 3}
        for step in range(max(map(len, lines.values()))):
            yield f"attack/{name}", step, {k: line[step] for k, line in lines.items() if step < len(line)}


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, int | float) for v in value)


def settings(row: Row) -> dict[str, Any]:
    """The resolved config that a row is made from, nested, with its key and seeds."""
    named = ("key", "chain", "seed", "attack_seed", "setting", "precision")
    tree: dict[str, Any] = {name: row[name] for name in named if name in row}
    for key, value in row.items():
        if "." in key and "/" not in key and not key.startswith("runtime."):  # where, which is known at the end
            *path, last = key.split(".")
            node = tree
            for part in path:
                node = node.setdefault(part, {})
                if not isinstance(node, dict):  # a setting that holds others, which no config of ours has
                    break
            else:
                node[last] = value
    return tree


def numbers(row: Row) -> dict[str, float]:
    """The scalar results of a row: utility, privacy, floors, bounds, cost, as far as they are finite."""
    groups = {*GROUPS, "defense"} - {"ceiling"}  # another run's
    scalars = {k: v for k, v in row.items() if k.split("/")[0] in groups and "/" in k and isinstance(v, int | float)}
    return {k: v for k, v in scalars.items() if math.isfinite(v)}


def labels(row: Row) -> dict[str, str]:
    """By what finished runs are filtered, beside their settings: the verdict, and the suite's name and version."""
    return {"verdict": verdict(row), **({"suite": str(row["suite"])} if row.get("suite") else {})}


def name_of(row: Row) -> str:
    """What a record of a run is called: a study's row says what sets it apart."""
    return " ".join(str(part) for part in (row["chain"], row.get("way"), f"seed {row['seed']}") if part)


def pictures(row: Row, store: Store) -> dict[str, Shown]:
    """What every attack that rebuilds images shows; attacks whose files are not in this store are left out."""
    shown = {key[8:]: read((store.root / path).parent) for key, path in row.items()
             if key.startswith("picture/") and path}  # fmt: skip
    return {name: each for name, each in shown.items() if each}


def victims(row: Row, store: Store) -> tuple[list[str], list[list[Any]]]:
    """Scores of every attack on every victim as a table: attack, victim, and one column per metric.

    A score that is not finite is None there; attacks whose scores cannot be read have no lines.
    """
    columns: dict[str, None] = {}
    lines: list[dict[str, Any]] = []
    for name, path in scores_of(row).items():
        scores = read_scores(store.root / path) if (store.root / path).is_file() else {}
        columns |= dict.fromkeys(scores)
        lines += [
            {"attack": name, "victim": i, **{k: float(v[i]) for k, v in scores.items() if math.isfinite(v[i])}}
            for i in range(max(map(len, scores.values()), default=0))
        ]
    header = ["attack", "victim", *columns]
    return header, [[line.get(column) for column in header] for line in lines]
