"""From a row back to the run that made it: its config lies in the row, key by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from splitpriv import config, plugins, targets
from splitpriv.config import Config
from splitpriv.measure.audit import Audit
from splitpriv.measure.measure import Measure
from splitpriv.run.context import LEAVES
from splitpriv.run.prepare import Prepared, prepare
from splitpriv.run.recipe import Recipe
from splitpriv.store import Row, Store, proof
from splitpriv.types import UserError

GROUPS = ("dataset", "backbone", "split", "task", "optim", "protocol", "knowledge", "measure", "defense", "attack",
          "monitor")  # fmt: skip
MOVED = {vars(c)["key_name"]: f"{c.__module__}.{c.__name__}" for c in (Recipe, Measure, Audit)}  # since keys began


def reopened(row: Row, store: Store, overrides: Sequence[str] = ()) -> Prepared:
    """The run of a row, checked and planned anew, its fits whole in `store`; data are where the environment says, or
    `paths.data` or `dataset.path` among `overrides`, of which `runtime.` counts, too.

    Raises UserError for what is no run, for one that this version would train otherwise, and for one whose fits are
    gone or damaged: nothing is ever trained here.
    """
    prepared = planned(row, store, overrides)
    for fit in prepared.plan.fits:
        wrong = proof.damage(store.home("fit", fit), LEAVES["fit"])
        if wrong is None:
            raise UserError(f"{row['key']}: fit/{fit} is not in {store.root}; run it again, or copy that folder there")
        if wrong:
            told = ", ".join(f"{name} is {what}" for name, what in wrong.items())
            raise UserError(f"{row['key']}: fit/{fit} is damaged ({told}); run it again")
    return prepared


def planned(row: Row, store: Store, overrides: Sequence[str] = ()) -> Prepared:
    """The same without a look at the fits."""
    key = row["key"]
    if row.get("study"):
        raise UserError(f"{key}: is a study, {row['study']}, which has no model to open; read its row")
    try:
        prepared = prepare(settings_of(row, store, overrides))
    except UserError as error:
        raise UserError(*(f"{key}: cannot be opened, {problem}" for problem in error.problems)) from error
    if prepared.plan.row != key:
        raise UserError(
            f"{key}: an older version of splitpriv or of its data made this run, and this one would make "
            f"{prepared.plan.row}; run it again to open its model"
        )
    return prepared


def settings_of(row: Row, store: Store, overrides: Sequence[str] = ()) -> Config:
    """The config that a row tells of; where and by whom it is recorded is as the environment says."""
    places = [word for word in overrides if word.startswith(("paths.", "runtime.", "plugins="))]
    cfg = config.compose([*places, f"runtime.precision={row.get('precision', 'fp32')}"])
    cfg["paths"]["outputs"] = str(store.root)
    groups = nested(row)
    if moved := [word.partition("=")[2] for word in overrides if word.startswith("dataset.path=")]:
        groups["dataset"]["path"] = moved[-1]  # keys hold what lies there, not the path
    parts: list[tuple[str, Any]] = list(targets.nodes(groups))
    own = plugins.again([str(part["_target_"]) for _, part in parts])
    for where, part in parts:
        _complete(part, where)
    choices = {**cfg["choices"], **{name: row[name] for name in cfg["choices"] if isinstance(row.get(name), str)}}
    return {
        **cfg,
        **groups,
        "plugins": own,
        "seed": row["seed"],
        "attack_seed": row.get("attack_seed", 0),
        "choices": choices,
    }


def nested(row: Row) -> dict[str, dict[str, Any]]:
    """The settings of a row by group, as a config nests them."""
    groups: dict[str, Any] = {name: {} for name in GROUPS}
    for key, value in row.items():
        *path, last = key.split(".")
        if path and path[0] in GROUPS and "/" not in path[0]:
            node = groups
            for part in path:
                node = node.setdefault(part, {})
            node[last] = value
    return groups


def _complete(node: dict[str, Any], where: str) -> None:
    """Give back what a row leaves out: settings that were empty, or that came later, at what they meant before."""
    node["_target_"] = MOVED.get(node["_target_"], node["_target_"])
    target = targets.locate(node["_target_"], where)
    before: Mapping[str, Any] = getattr(target, "added", {})
    for name, parameter in targets.settings(target).items():
        if name not in node and parameter.default is parameter.empty:
            node[name] = before.get(name, {})
    for name, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            _complete(value, f"{where}.{name}")
