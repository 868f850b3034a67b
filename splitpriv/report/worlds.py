"""What runs that are compared have in common: world, attacker, versions, and every setting but their chain's. Imports
no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
MADE = re.compile(r"(\S+) (\d{1,9})")  # in a row's `makes`: a link and its version
UNLIKE = {
    "suite": "unlike suites ({}): compare neither their answers nor their worst cases",
    "attacks": "the worst cases are over unlike attacks: do not compare them, since each attack more lowers them",
    "makes": "some were made by older versions of a link ({}): compare none of their numbers",
    "protocol.queries": "unlike queries ({}): who sees an image released more often rebuilds it better",
}


def world_of(row: Row, who: str = "") -> dict[str, str]:
    """What runs of one front have in common: their world, and who attacks. Rows of before have the neutral value of
    what came later."""
    return {key: says(row, key) for key in WORLD} | attackers(row, who)


def says(row: Row, key: str) -> str:
    """What a row says at a key of the world, as text."""
    return str(row.get(key, WORLD[key]))


def attackers(row: Row, who: str) -> dict[str, str]:
    """The suite that `who` stands for ("suite", "worst" or an attack) and, for a worst case, the attacks it is over."""
    is_suite = who in ("suite", "worst") or f"attack/{who}/answer" in row
    suite = {"suite": str(row.get("suite") or "")} if is_suite else {}
    return suite | ({"attacks": " ".join(sorted(attacks_of(row)))} if who == "worst" else {})


def settings(row: Row) -> dict[str, Any]:
    """The settings that runs compared share, those of the world left out; one that came later has the value that
    means what was before."""
    told = {k: v for k, v in row.items() if k.startswith(ALIKE) and "/" not in k}
    return {k: v for k, v in sorted({**later(row), **told}.items()) if v is not None and k not in WORLD}


def later(row: Row) -> dict[str, Any]:
    """The settings that came after keys did, of all that a row is made of but its defences, at what was before."""
    made = {key: str(v) for key, v in row.items() if key.startswith(ALIKE) and key.endswith("._target_")}
    return {key.replace("_target_", name): v
            for key, target in made.items() for name, v in (_of(target, "added") or {}).items()}  # fmt: skip


@cache
def _of(target: str, name: str) -> Any:
    """What a class says of itself; None where it says nothing, is not here, or of a plug-in."""
    try:
        return getattr(targets.locate(target, "row"), name, None)
    except UserError:
        return None


def differing(told: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The keys at which some worlds or settings differ, with their values as text."""
    keys = dict.fromkeys(key for each in told for key in each)
    values = {key: sorted({str(each.get(key, "")) for each in told}) for key in keys}
    return {key: said for key, said in values.items() if len(said) > 1}


def older(rows: Sequence[Row]) -> list[str]:
    """Of each row the links that another one has in a newer version, as text: no number of one goes with the other's.

    A row that says no version of a link was made by the one that its class calls `unsaid`.
    """
    if not any("makes" in row for row in rows):
        return [""] * len(rows)
    made = [_links(row) for row in rows]
    newest: dict[str, int] = {}
    for target, (_, version) in (link for links in made for link in links.items()):
        newest[target] = max(newest.get(target, 0), version)
    return [", ".join(f"{name} {version}, not {newest[target]}" for target, (name, said) in links.items()
                      if newest[target] and (version := said or _of(target, "unsaid") or 1) < newest[target])
            for links in made]  # fmt: skip


def _links(row: Row) -> dict[str, tuple[str, int]]:
    """What each link of its chain is made of -> its name and the version that the row says; 0 where it says none."""
    said = {name: int(version) for name, version in MADE.findall(str(row.get("makes", "")))}
    names = dict.fromkeys(key.split(".")[1] for key in row if key.startswith("defense.") and "/" not in key)
    return {str(row.get(f"defense.{name}._target_", name)): (name, said.get(name, 0)) for name in names}


def require_one(rows: Sequence[Row], who: str) -> None:
    """Raise UserError unless runs share their world, as `who` sees it, their settings, and the versions of links."""
    refused = "curve: these runs cannot share one front"
    for key, values in differing([{**world_of(row, who), **settings(row)} for row in rows]).items():
        remedy = "--y privacy/ATTACK/METRIC" if key == "attacks" else f"--where {key}=…"
        raise UserError(f"{refused}, their {key} differ ({'; '.join(values)}); choose with {remedy}")
    if old := {row["key"]: made for row, made in zip(rows, older(rows), strict=True) if made}:
        raise UserError(f"{refused}, some were made by older versions of a link ({_once(old.values())}); "
                        f"leave these out: --where {' '.join(f'key!={key}' for key in old)}")  # fmt: skip


def apart(rows: Sequence[Row], who: str) -> list[str]:
    """Why what `who` achieved in these rows cannot be compared, a line for each reason."""
    found = differing([attackers(row, who) for row in rows])
    lines = [UNLIKE[key].format("; ".join(v or "none" for v in values)) for key, values in found.items()][:1]
    old = _once(filter(None, older(rows)))
    return [*lines, *([UNLIKE["makes"].format(old)] if old else [])]


def _once(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def unlike(rows: Sequence[Row]) -> list[str]:
    """Which numbers of listed rows cannot be compared, a line for each reason."""
    attacked = [row for row in rows if "privacy/worst/mse" in row]
    queries = sorted({says(row, "protocol.queries") for row in attacked})
    often = [UNLIKE["protocol.queries"].format("; ".join(queries))] if len(queries) > 1 else []
    return [*apart(attacked, "worst"), *often]


def among(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The world of each row, as a worst case sees it, with the settings in which rows of that world differ, as text,
    and the links of an older version.

    Settings are numbered, since what leaves the tool tells paths by their last part alone.
    """
    worlds = [world_of(row, "worst") | {"older": made} for row, made in zip(rows, older(rows), strict=True)]
    same: dict[str, list[int]] = {}
    for i, world in enumerate(worlds):
        same.setdefault(str({**world, "attacks": "", "older": ""}), []).append(i)
    for members in same.values():
        told = {i: settings(rows[i]) for i in members}
        keys = differing([*told.values()])
        texts = {i: ", ".join(f"{key}={told[i].get(key, 'none')}" for key in keys) for i in members}
        number = {text: n for n, text in enumerate(dict.fromkeys(texts.values()), 1)}
        for i, text in texts.items():
            worlds[i]["settings"] = f"{number[text]}: {text}" if text else ""
    return worlds
