"""Can a row be read at all? Sound, doubtful or void, from the kinds of its flags. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Literal

import yaml

from splitpriv.config import CONF
from splitpriv.measure.checks import MARGIN
from splitpriv.measure.flags import Flag, flags_of, raised
from splitpriv.store import Row

State = Literal["sound", "doubtful", "void"]
MOST = 0.7  # of the images that a share for testing should take: the rest has to train the network
VICTIMS = 100  # fewer say little about images that were not attacked
Z = 1.96  # standard errors of a 95 % interval
FAR = 0.5  # of a reference: a network below it has not learnt its task
OFFICIAL = "cem_official"  # protocols whose splits overlap as their authors' do


class Judged(Row):
    """A row with all its doubts among its flags, and its verdict."""


def whole(row: Row) -> Judged:
    """A row, also one of before that says no verdict, and not all its doubts."""
    doubts = doubts_of(row)
    return Judged({**row, "verdict": weigh(doubts), "flags": [flag.record() for flag in doubts]})


def verdict(row: Row) -> State:
    """The state of a row."""
    return row["verdict"] if isinstance(row, Judged) else weigh(doubts_of(row))


def weigh(flags: Collection[Flag]) -> State:
    """`void` if any doubt voids what it is about, `doubtful` if there is any other, else `sound`."""
    return "void" if any(flag.voids for flag in flags) else "doubtful" if flags else "sound"


def doubts_of(row: Row) -> list[Flag]:
    """The flags of a row; with those that follow from its numbers first, where it was made before they were raised."""
    stored = flags_of(row)
    if isinstance(row, Judged):
        return stored
    known = {(flag.kind, flag.subject) for flag in stored}
    return [*(flag for flag in implied(row) if (flag.kind, flag.subject) not in known), *stored]


def implied(row: Row) -> list[Flag]:
    """The flags that follow from what a row holds: its protocol, victims, utility and floors."""
    return [*_size(row), *_utility(row), *_learnt(row)]


def official(protocol: str, overlap: bool, slices: Mapping[str, Sequence[Any]]) -> bool:
    """Whether shared images are part of what is measured: its authors' protocol, or an adversary who holds them."""
    return not overlap or slices == _authors(protocol)


@cache
def _authors(protocol: str) -> Mapping[str, Sequence[Any]] | None:
    """Which images each split has by an official protocol; None for any other."""
    path = CONF / "protocol" / f"{protocol}.yaml"
    if not protocol.startswith(OFFICIAL) or not path.is_file():
        return None
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["slices"])


def _size(row: Row) -> Iterator[Flag]:
    """Too little, or the wrong images."""
    protocol, victims = str(row.get("protocol", "")), row.get("victims", VICTIMS)
    if protocol == "smoke":
        yield raised("smoke")
    if victims < VICTIMS:
        yield raised("few", count=victims, more=_more(row, victims))
    slices = {k.rpartition(".")[2]: row[k] for k in row if k.startswith("protocol.slices.")}
    if "verdict" not in row and not official(protocol, bool(row.get("protocol.overlap")), slices):
        yield raised("allowed")


def _more(row: Row, victims: int) -> str:
    """What brings enough victims: the protocol's numbers, or a larger share where all that there are were attacked."""
    limit, share = row.get("protocol.limit.victims"), row.get("dataset.test_share")
    limited = limit is not None and limit < VICTIMS
    attacked = row.get("protocol.attacked", 0)  # null: all that there are
    if limited or (attacked is not None and attacked < VICTIMS):
        return f"protocol.attacked={VICTIMS}" + (f" protocol.limit.victims={VICTIMS}" if limited else "")
    wanted = math.ceil(100 * (share or 1) * VICTIMS / max(victims, 1)) / 100
    return f"dataset.test_share={wanted}" if share and wanted <= MOST else ""


def _utility(row: Row) -> Iterator[Flag]:
    """A service that is not worth attacking."""
    name = str(row.get("headline", "accuracy"))
    value, reference = row.get(f"utility/{name}"), references().get(str(row.get("dataset")), {}).get(name, {})
    chance, wanted = row.get(f"chance/{name}", reference.get("chance")), reference.get("printed")
    if not isinstance(value, int | float) or not math.isfinite(value):
        return
    tested = row.get("tested") or max(row.get("victims") or 1, row.get("protocol.limit.victims") or 1)
    epochs = row.get("optim.epochs")
    longer = f"optim.epochs={2 * epochs}" if isinstance(epochs, int) and epochs else ""
    if chance is not None and value <= chance + Z * math.sqrt(max(0, chance * (1 - chance)) / tested):
        blind = "the most frequent class" if name == "accuracy" else "chance"
        yield raised("chance", name, value=value, chance=chance, blind=blind, longer=longer)
    elif wanted is not None and value < FAR * wanted:
        yield raised("far", name, value=value, wanted=wanted, longer=longer)


def _learnt(row: Row) -> Iterator[Flag]:
    """No attack on images that beats an image which needs no release."""
    floor = row.get("floor/mean_image/mse")
    reached = [v if math.isfinite(v) else math.inf for k in _errors(tuple(row)) if (v := row[k]) is not None]
    if floor is not None and reached and not min(reached) < floor * (1 - MARGIN):
        yield raised("blind", more="" if row.get("suite") else "attack=[autoinvert]")


@lru_cache(maxsize=512)
def _errors(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The errors of attacks, of a row's keys: thousands of rows have the same."""
    return tuple(k for k in keys if k.startswith("privacy/") and k.endswith("/mse") and "/worst/" not in k)


@cache
def references() -> dict[str, dict[str, Any]]:
    """By data set and number, what chance reaches and what an undefended network does in print."""
    return dict(yaml.safe_load((CONF / "reference.yaml").read_text(encoding="utf-8")))
