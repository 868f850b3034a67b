"""One board for each world: which rows can stand on it, their lines, front, places, and what is void."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from splitpriv import targets
from splitpriv.board import chains
from splitpriv.board.lines import Known, lines, queries_of
from splitpriv.board.ranks import LEAST, SHIPPED, front, places
from splitpriv.measure.verdict import doubts_of, verdict
from splitpriv.report.frontier import LOSSES, points, summarise
from splitpriv.report.terminal import images_of
from splitpriv.report.worlds import older, settings, world_of
from splitpriv.store import Row
from splitpriv.types import UserError

FREE = ("protocol.queries",)  # of which a line tells each
OPTIONS = ("task", "optim", "protocol")  # by which boards are told apart first


def world(row: Row) -> dict[str, str]:
    """What the rows of one board have in common, by name; how often images are released is for its columns."""
    return {k: v for k, v in world_of(row, "suite").items() if k not in FREE}


def identity(row: Row) -> str:
    """A name for a board: ten digits that follow from its world and settings."""
    told = json.dumps([world(row), settings(row)], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:10]


def boards(rows: Sequence[Row], known: Known) -> list[dict[str, Any]]:
    """All boards of some rows, the one with most lines first; rows without a suite that rebuilds images are left out.

    `known`: what submitted attacks reached, key of a row -> name -> MSE. Chains go by their options' names.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.get("suite") and images_of(row) and not row.get("study"):
            groups.setdefault(identity(row), []).append({**row, "chain": chains.name(row)})
    made = [_board(name, same, known) for name, same in groups.items()]
    _tell_apart(made)
    return sorted(made, key=lambda board: (-len(board["chains"]), board["id"]))


def _tell_apart(boards: Sequence[dict[str, Any]]) -> None:
    """Give each board a `name`, which no other of its suite has, and `apart`, all that sets it apart from those of its
    data set, network, cut and adversary: the name has as much of that as it takes, options before settings."""
    for board in boards:
        twins = [other for other in boards if _short(other) == _short(board)]
        mine, *told = [{**each["world"], **each["options"], **each["settings"]} for each in (board, *twins)]
        differs = [key for key in dict.fromkeys(k for each in told for k in each)
                   if key != "suite" and any(each.get(key) != mine.get(key) for each in told)]  # fmt: skip
        left = [each for each in told if each["suite"] == mine["suite"]]
        shown: list[str] = []
        for key in differs:
            same = [each for each in left if each.get(key) == mine.get(key)]
            shown += [key] if len(same) < len(left) else []
            left = same
        board["name"] = [*_short(board), *(f"{key} {_text(mine.get(key))}" for key in shown)]
        board["apart"] = {key: mine.get(key) for key in differs}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _short(board: Mapping[str, Any]) -> tuple[str, ...]:
    world = board["world"]
    return (world["dataset"], world["backbone"], f"cut {world['cut']}", f"knowledge {world['knowledge']}")


def _board(name: str, rows: Sequence[Row], known: Known) -> dict[str, Any]:
    kept = [row for row in rows if verdict(row) != "void"]
    old = {row["key"]: made for row, made in zip(kept, older(kept), strict=True) if made}
    sound = [row for row in kept if row["key"] not in old]
    told = lines(sound, known)
    numbers = _numbers([row for row in sound if queries_of(row) == 1])
    groups = numbers["groups"] if numbers else {}
    bought = {chain: group["privacy_at_loss"] for chain, group in groups.items()}
    losses = [f"{loss:g}" for loss in LOSSES]
    least = SHIPPED if _ships(str(rows[0].get("dataset._target_"))) else LEAST
    ranked = {loss: places({chain: each.get(loss) for chain, each in bought.items()}, least) for loss in losses}
    means = {key for i in numbers["pareto"] for key in numbers["points"][i]["keys"]} if numbers else set()
    for line in told:
        line["means"] = bool(means & {*line["keys"]})
        line["front"] = front(line, told, least)
    by_chain = {
        chain: {"bought": {loss: (bought.get(chain) or {}).get(loss) for loss in losses},
                "places": {loss: ranked[loss][chain].record() for loss in losses if chain in ranked[loss]}}
        for chain in dict.fromkeys(line["chain"] for line in told)
    }  # fmt: skip
    return {
        "id": name, "world": world(rows[0]), "settings": settings(rows[0]), "headline": rows[0].get("headline"),
        "options": {k: rows[0][k] for k in OPTIONS if k in rows[0]}, "least": least,
        "queries": sorted({queries_of(row) for row in sound}),
        "losses": losses, "lines": told, "chains": by_chain, "undefended": (numbers or {}).get("undefended", []),
        "seeds": sorted({row["seed"] for row in rows}),
        "void": [_void(row, old.get(row["key"])) for row in rows if row not in sound],
        "interpolation": (numbers or {}).get("interpolation", ""),
    }  # fmt: skip


@cache
def _ships(target: str) -> bool:
    """Whether a data set comes with splitpriv."""
    try:
        return bool(getattr(targets.locate(target, "board"), "ships", False))
    except UserError:
        return False


def _numbers(rows: Sequence[Row]) -> dict[str, Any] | None:
    """What the rows say of one another as one front."""
    x, y = f"utility/{rows[0].get('headline', 'accuracy') if rows else ''}", "privacy/suite/mse"
    kept = [{k: v for k, v in row.items() if not k.startswith("board/")} for row in rows
            if row.get(x) is not None and row.get(y) is not None]  # fmt: skip
    return summarise(points(kept, x, y, "chain"), x, y, rises=True, reference=None) if kept else None


def _void(row: Row, old: str | None) -> dict[str, Any]:
    """A row in no number of its board, and why: it is void, or `old`, links of a version that others have newer."""
    why = dict.fromkeys(flag.text for flag in doubts_of(row) if flag.voids)
    told = [f"made by an older version of a link ({old})"] if old else []
    return {"chain": row["chain"], "seed": row["seed"], "key": row["key"], "why": [*told, *why]}
