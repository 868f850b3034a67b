"""What runs that are compared have in common: their world, and every setting but their chain's. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from splitpriv import targets
from splitpriv.report.terminal import attacks_of
from splitpriv.store import Row
from splitpriv.types import UserError

# what runs of one front have in common, and what rows had before it was told
WORLD = {"dataset": "", "backbone": "", "task": "", "cut": "", "protocol": "", "protocol.queries": 1, "knowledge": ""}
# groups of settings in which they are alike: they differ in `defense.` alone
ALIKE = ("dataset.", "backbone.", "split.", "task.", "optim.", "protocol.", "knowledge.", "measure.")


def world_of(row: Row, who: str = "") -> dict[str, str]:
    """What runs of one front have in common: their world, the suite that `who` stands for ("suite", "worst" or an
    attack) and, for a worst case, the attacks it is over. Rows of before have the neutral value of what came later."""
    world = {key: str(row.get(key, usual)) for key, usual in WORLD.items()}
    world |= {"suite": str(row.get("suite", ""))} if who in ("suite", "worst") or f"attack/{who}/answer" in row else {}
    return world | ({"attacks": " ".join(sorted(attacks_of(row)))} if who == "worst" else {})


def settings(row: Row) -> dict[str, Any]:
    """The settings that runs compared share, those of the world left out; one that came later has the value that
    means what was before."""
    told = {k: v for k, v in row.items() if k.startswith(ALIKE) and "/" not in k}
    return {k: v for k, v in sorted({**later(row), **told}.items()) if v is not None and k not in WORLD}


def later(row: Row) -> dict[str, Any]:
    """The settings that came after keys did, of all that a row is made of but its defences, at what was before."""
    made = {key: str(v) for key, v in row.items() if key.startswith(ALIKE) and key.endswith("._target_")}
    return {key.replace("_target_", name): v for key, target in made.items() for name, v in _added(target).items()}


@cache
def _added(target: str) -> Mapping[str, Any]:
    try:
        return dict(getattr(targets.locate(target, "row"), "added", {}))
    except UserError:  # not here, or of a plug-in
        return {}


def differing(told: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The keys at which some worlds or settings differ, with their values as text."""
    keys = dict.fromkeys(key for each in told for key in each)
    values = {key: sorted({str(each.get(key, "")) for each in told}) for key in keys}
    return {key: said for key, said in values.items() if len(said) > 1}


def require_one(rows: Sequence[Row], who: str) -> None:
    """Raise UserError unless runs share their world, as `who` sees it, and their settings."""
    for key, values in differing([{**world_of(row, who), **settings(row)} for row in rows]).items():
        remedy = "--y privacy/ATTACK/METRIC" if key == "attacks" else f"--where {key}=…"
        raise UserError(f"curve: these runs cannot share one front, their {key} differ ({'; '.join(values)}); "
                        f"choose with {remedy}")  # fmt: skip


def among(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The world of each row, as a worst case sees it, with the settings in which rows of that world differ, as text.

    They are numbered, since what leaves the tool tells paths by their last part alone.
    """
    worlds = [world_of(row, "worst") for row in rows]
    same: dict[str, list[int]] = {}
    for i, world in enumerate(worlds):
        same.setdefault(str({**world, "attacks": ""}), []).append(i)
    for members in same.values():
        told = {i: settings(rows[i]) for i in members}
        keys = differing([*told.values()])
        texts = {i: ", ".join(f"{key}={told[i].get(key, 'none')}" for key in keys) for i in members}
        number = {text: n for n, text in enumerate(dict.fromkeys(texts.values()), 1)}
        for i, text in texts.items():
            worlds[i]["settings"] = f"{number[text]}: {text}" if text else ""
    return worlds
