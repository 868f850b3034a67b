"""From a row back to the run that made it: its config lies in the row, key by key."""

from __future__ import annotations

from typing import Any

from splitpriv import config, plugins, targets
from splitpriv.config import Config
from splitpriv.run.prepare import Prepared, prepare
from splitpriv.store import Row, Store
from splitpriv.types import UserError

GROUPS = ("dataset", "backbone", "split", "task", "optim", "protocol", "knowledge", "measure", "defense", "attack",
          "monitor")  # fmt: skip


def reopened(row: Row, store: Store) -> Prepared:
    """The run of a row, checked and planned anew, its fits in `store`; data are where the environment says.

    Raises UserError for what is no run, for one that this version would train otherwise, and for one whose fits are
    gone: nothing is ever trained here.
    """
    key = row["key"]
    if row.get("study"):
        raise UserError(f"{key}: is a study, {row['study']}, which has no model to open; read its row")
    try:
        prepared = prepare(settings_of(row, store))
    except UserError as error:
        raise UserError(*(f"{key}: cannot be opened, {problem}" for problem in error.problems)) from error
    if prepared.plan.row != key:
        raise UserError(
            f"{key}: an older version of splitpriv or of its data made this run, and this one would make "
            f"{prepared.plan.row}; run it again to open its model"
        )
    if lost := [fit for fit in prepared.plan.fits if store.state("fit", fit) != "cached"]:
        raise UserError(f"{key}: fit/{lost[0]} is not in {store.root}; run it again, or copy that folder there")
    return prepared


def settings_of(row: Row, store: Store) -> Config:
    """The config that a row tells of; where and by whom it is recorded is as the environment says."""
    cfg = config.compose([f"runtime.precision={row.get('precision', 'fp32')}"])
    cfg["paths"]["outputs"] = str(store.root)
    groups: dict[str, Any] = {name: {} for name in GROUPS}
    for key, value in row.items():
        *path, last = key.split(".")
        if path and path[0] in GROUPS and "/" not in path[0]:
            node = groups
            for part in path:
                node = node.setdefault(part, {})
            node[last] = value
    parts: list[tuple[str, Any]] = list(targets.nodes(groups))
    own = plugins.again([str(part["_target_"]) for _, part in parts])
    for where, part in parts:  # a setting that is an empty mapping leaves no entry in a row
        for name in targets.settings(targets.locate(part["_target_"], where)):
            part.setdefault(name, {})
    choices = {**cfg["choices"], **{name: row[name] for name in cfg["choices"] if isinstance(row.get(name), str)}}
    return {
        **cfg,
        **groups,
        "plugins": own,
        "seed": row["seed"],
        "attack_seed": row.get("attack_seed", 0),
        "choices": choices,
    }
