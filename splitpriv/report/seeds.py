"""Rows of one setting over its seeds: what sets settings apart, and a number by target seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from splitpriv.stats.interval import over_targets
from splitpriv.store import Row
from splitpriv.types import UserError

APART = ("seed", "attack_seed", "key", "fit", "stages", "commit", "trajectory", "flags", "ceiling", "verdict",
         "note", "tags", "runtime.device", "runtime.threads")  # fmt: skip  # what seeds may change


def alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows by their settings, in the order in which they came: those of one list differ in nothing but their seeds.

    Raises UserError where rows of one list were made of different things under the same names.
    """
    same: dict[str, list[Row]] = {}
    for row in rows:
        told = {k: v for k, v in row.items() if "/" not in k and k not in APART}
        same.setdefault(json.dumps(told, sort_keys=True, default=str), []).append(row)
    for members in same.values():
        _require_one_make(members)
    return list(same.values())


def by_target(rows: Sequence[Row], value: Callable[[Row], Any]) -> dict[int, float]:
    """The number of each target seed of rows of one setting, attack seeds averaged within it."""
    return over_targets({_seeds(row): value(row) for row in rows})


def _require_one_make(rows: Sequence[Row]) -> None:
    """Raise UserError where rows of one setting are of other images, or two of them have the same seeds."""
    last = {_seeds(row): row["key"] for row in rows}
    others = [row["key"] for row in rows if images(row) != images(rows[-1]) or row["key"] != last[_seeds(row)]]
    if others:
        raise UserError(f"{len(rows)} runs of {rows[0]['chain']} share their settings, but not the images, weights or "
                        "code that they were made of: no mean is over both; keep those of one make (`board build`: "
                        f"with --rows), as in --where {' '.join(f'key!={key}' for key in others)}")  # fmt: skip


def _seeds(row: Row) -> tuple[int, int]:
    return row["seed"], row.get("attack_seed", 0)


def images(row: Row) -> str:
    """What changes with the images read, and with no seed: the key of the stage that counts copies among them."""
    first = next(iter(row.get("stages", ())), "")
    return first if first.startswith("measure/") else ""
