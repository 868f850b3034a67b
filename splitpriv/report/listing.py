"""Many runs for people, a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from splitpriv.metrics import PRIVACY, find
from splitpriv.report import columns
from splitpriv.report.columns import Column
from splitpriv.report.terminal import attacks_of, headline, images_of
from splitpriv.report.worlds import says, unlike
from splitpriv.store import Row

CONTEXT = ("study", "way", "dataset", "backbone", "cut", "task", "optim", "protocol", "protocol.queries", "knowledge",
           "attacks", "suite", "seed", "tags")  # fmt: skip
LEGEND = (
    "suite: what the suite answers; else the worst case over the attacks, per image, an oracle; ↑ higher or ↓ lower is "
    "more private"
)
NARROW = {
    "seed": 2,
    "tags": 3,
    "dataset": 4,
    "backbone": 5,
    "cut": 6,
    "protocol.queries": 7,
    "suite": 15,
    "attacks": 20,
}  # ranks; others go before


def print_rows(rows: Sequence[Row]) -> None:
    """One line each; the arrows say which way is more private. What all rows share stands above them."""
    told = [{name: context(row, name) for name in CONTEXT} for row in rows]
    shared = [name for name in CONTEXT if len({line[name] for line in told}) == 1]
    title = " · ".join(f"{name} {told[0][name]}" for name in shared if told[0][name])
    varying = [Column(name, [line[name] for line in told], rank=NARROW.get(name, 25))
               for name in CONTEXT if name not in shared]  # fmt: skip
    shown = [
        Column("verdict", [row["verdict"] for row in rows]),
        Column("chain", [row["chain"] for row in rows]),
        *varying,
        *_results(rows),
        Column("flags", [str(len(row["flags"])) for row in rows], rank=8, right=True),
        Column("key", [row["key"] for row in rows], rank=1),
    ]
    columns.show(shown, title, [LEGEND, *unlike(rows)])


def print_chosen(rows: Sequence[Row], keys: Sequence[str]) -> None:
    """One line each, of what somebody asked for."""
    columns.show([Column(columns.heading(key), [columns.text(row, key) for row in rows],
                         right=find(key) is not None) for key in keys])  # fmt: skip


def headlines(rows: Sequence[Row]) -> list[str]:
    """The keys of a row that a list of groups shows where nobody asks for others."""
    named = [f"utility/{headline(row)}" for row in rows]
    named += [f"privacy/{who}/{m}" for who in _who(rows) for m in PRIVACY]
    named += [f"privacy/{name}/{metric}" for name, metric in _inferred(rows).items()]
    return [key for key in dict.fromkeys(named) if any(row.get(key) is not None for row in rows)]


def _results(rows: Sequence[Row]) -> list[Column]:
    """Utility, privacy by whom, floor and ceiling, and what was inferred."""
    metrics = [m for m in PRIVACY if any(f"privacy/worst/{m}" in row for row in rows)]
    who = _who(rows)
    whose = {"suite": "suite's ", "worst": "worst " if len(who) > 1 else ""}
    shown: list[tuple[str, Mapping[str, int], list[str | None]]] = [
        (" or ".join(dict.fromkeys(map(headline, rows))), {}, [f"utility/{headline(row)}" for row in rows])
    ]
    for name in who:
        for m in metrics:
            rank = (7 if name == who[0] and m == "mse" else 9 if m == "mse" else 12) if m != "ssim" else 10
            shown.append((f"{whose[name]}{PRIVACY[m].heading}", {"rank": rank}, [f"privacy/{name}/{m}"] * len(rows)))
    if metrics:
        shown.append(("MSE undefended", {"rank": 14}, [f"ceiling/{who[0]}/mse"] * len(rows)))
        shown.append(("MSE of mean image", {"rank": 13}, ["floor/mean_image/mse"] * len(rows)))
    for name, metric in _inferred(rows).items():
        shown.append((f"{name} {metric} ↓", {"rank": 11}, [f"privacy/{name}/{metric}"] * len(rows)))
    return [
        Column(title, [columns.text(row, key or "") for row, key in zip(rows, keys, strict=True)], right=True, **rank)
        for title, rank, keys in shown
    ]


def _who(rows: Sequence[Row]) -> tuple[str, ...]:
    return ("suite", "worst") if any("suite" in row for row in rows) else ("worst",)


def _inferred(rows: Sequence[Row]) -> dict[str, str]:
    """Attacks that rebuild no images, each with the last of its headline metrics that there is."""
    names = dict.fromkeys(name for row in rows for name in attacks_of(row) if name not in images_of(row))
    return {name: m for name in names for m in ("accuracy", "map", "advantage")
            if any(f"privacy/{name}/{m}" in row for row in rows)}  # fmt: skip


def context(row: Row, name: str) -> str:
    """What sets runs apart, in words."""
    if name == "protocol.queries":
        return "" if row.get("study") else says(row, name)
    return ",".join(attacks_of(row)) if name == "attacks" else columns.text(row, name)
