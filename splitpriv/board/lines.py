"""The lines of a board: of each setting of a chain its numbers over seeds, with intervals. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from splitpriv import config, metrics
from splitpriv.board import chains
from splitpriv.board.kept import SHOWN
from splitpriv.measure.verdict import doubts_of, verdict
from splitpriv.report.seeds import alike, by_target
from splitpriv.report.terminal import attacks_of
from splitpriv.stats.interval import interval
from splitpriv.store import Row

Known = Mapping[str, Mapping[str, float]]  # key of a row -> name of a submitted attack -> its MSE
IDENTITY = ("told", "rank1", "map")  # metrics that say whether a rebuilt picture still says who it was
ORDER = ("sound", "doubtful", "void")


def settings_of(row: Row) -> dict[str, Any]:
    """What a row says of its defences, without what they are made of."""
    return {k: v for k, v in row.items() if k.startswith("defense.") and "/" not in k and not k.endswith("_target_")}


def queries_of(row: Row) -> int:
    """How often each victim was released."""
    return int(row.get("protocol.queries") or 1)


def lines(rows: Sequence[Row], known: Known) -> list[dict[str, Any]]:
    """One line for each setting of each chain among the rows of one board, none of them void.

    Raises UserError where rows of one setting were made of different things under the same names.
    """
    alike(rows)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = json.dumps([row["chain"], settings_of(row)], sort_keys=True, default=str)
        groups.setdefault(name, []).append(row)
    twins = {row["seed"]: row for row in rows if row["chain"] == "none"}
    differing = _differing(rows)
    return [_line(same, twins, differing[same[0]["chain"]], known) for same in groups.values()]


def _differing(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Of each chain the settings in which its rows are not all alike, and those of its grids."""
    told: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        told.setdefault(row["chain"], []).append(settings_of(row))
    grids = {key for row in rows for part in chains.parts(row) for key in config.grid(part.option)}  # told anyhow
    return {chain: [key for key in dict.fromkeys(k for s in all_ for k in s)
                    if key in grids or len({json.dumps(s.get(key)) for s in all_}) > 1]
            for chain, all_ in told.items()}  # fmt: skip


def _line(same: Sequence[Row], twins: Mapping[int, Row], differing: Sequence[str], known: Known) -> dict[str, Any]:
    first = min(same, key=lambda row: (queries_of(row), row["seed"]))
    utility = f"utility/{first.get('headline', 'accuracy')}"
    strength = {key.removeprefix("defense."): first[key] for key in differing if key in first}
    once = [row for row in same if queries_of(row) == queries_of(first)]
    lost = [row for row in once if row["seed"] in twins]
    low, high = metrics.within(utility)
    flags = {(flag.kind, flag.text): flag for row in same for flag in doubts_of(row)}
    kinds = {kind: [flag for (k, _), flag in flags.items() if k == kind] for kind, _ in flags}
    counts = sorted({queries_of(row) for row in same})
    by_count = {str(q): [row for row in same if queries_of(row) == q] for q in counts}
    shown = next((row[SHOWN] for row in same if SHOWN in row), None)
    return {
        "chain": first["chain"], "strength": strength, "keys": [row["key"] for row in same], "key": first["key"],
        "seeds": sorted({row["seed"] for row in same}), "utility": _over(once, utility),
        "loss": _over(lost, lambda row: twins[row["seed"]][utility] - row[utility], (low - high, high - low)),
        "attacked": {q: _attacked(rows) for q, rows in by_count.items()},
        "best": {q: _best(rows, known) for q, rows in by_count.items()},
        "floor": _over(once, "floor/mean_image/mse"), "rate": _over(once, "cost/bits_per_image"),
        "edge": _over(once, "cost/edge_macs"), "victims": first.get("victims"),
        "verdict": max((verdict(row) for row in same), key=ORDER.index),
        "flags": [{"kind": kind, "text": found[0].text, "means": found[0].means} for kind, found in kinds.items()],
        "words": first.get("board/words"), "shown": shown,
    }  # fmt: skip


def _best(rows: Sequence[Row], known: Known) -> dict[str, Any]:
    """The least error that anybody reached, and who, at one number of queries."""
    best = {row["key"]: best_known(row, known.get(row["key"], {})) for row in rows}
    reached = _over(rows, lambda row: best[row["key"]][0], (0.0, inf)) or {}
    return {**reached, "who": sorted({who for _, who in best.values()})}


def _attacked(rows: Sequence[Row]) -> dict[str, Any]:
    """What the suite rebuilt, at one number of queries."""
    return {metric: _over(rows, f"privacy/suite/{metric}") for metric in ("mse", "ssim")} | {
        "identity": _over(rows, identity, (0.0, 1.0))
    }


def identity(row: Row) -> float | None:
    """How often a rebuilt picture, or a release, still says who it was; None where nobody was asked."""
    whose = ["suite", str(row.get("binds/identity"))]
    found = (row.get(f"privacy/{who}/{metric}") for metric in IDENTITY for who in whose)
    return next((float(v) for v in found if v is not None), None)


def best_known(row: Row, submitted: Mapping[str, float]) -> tuple[float, str]:
    """The least mean MSE reached on a row's victims, and by whom: an attack, a suite's member, what was sent in."""
    told = {name: row.get(f"privacy/{name}/mse") for name in [*attacks_of(row), "suite"]}
    told |= {key.split("/")[1]: v for key, v in row.items() if key.startswith("suite/") and key.endswith("/mse")}
    reached = {**{name: v for name, v in told.items() if v is not None}, **submitted}
    suite = reached.get("suite")
    return min((v, "" if name == "suite" else name) for name, v in reached.items() if name == "suite" or v != suite)


def _over(rows: Sequence[Row], value: str | Callable[[Row], Any],
          within: tuple[float, float] = (-inf, inf)) -> dict[str, Any] | None:  # fmt: skip
    """What rows have at a key, or a number of each that lies `within` limits, over target seeds; None where not every
    row has it."""
    read = (lambda row: row.get(value)) if isinstance(value, str) else value
    if not rows or any(read(row) is None for row in rows):
        return None
    limits = metrics.within(value) if isinstance(value, str) else within
    e = interval([*by_target(rows, read).values()], within=limits)
    return {"mean": e.mean, "n": e.n, "low": e.low, "high": e.high}
