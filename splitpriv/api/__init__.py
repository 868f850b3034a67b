"""splitpriv from Python: make a run, open a finished one, read all rows. Imports no torch until something computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splitpriv import config
from splitpriv.api.listing import Rows, filtered
from splitpriv.api.runs import Run
from splitpriv.overrides import quoted
from splitpriv.store import Store, say

__all__ = ["Rows", "Run", "load", "rows", "run"]


def run(overrides: Sequence[str] = (), *, outputs: Path | str | None = None) -> Run:
    """Train, defend, attack and measure one run, or open it at once where the store has it.

    `overrides` are those of `splitpriv run`, as in `["defense=[cem,noise]", "seed=1"]`; `outputs` is the store, by
    default that of the command line. Listed trackers follow the run. Raises UserError with every problem, before
    anything is trained.
    """
    from splitpriv import track
    from splitpriv.run import pipeline
    from splitpriv.run.prepare import from_overrides

    words = [overrides] if isinstance(overrides, str) else list(overrides)
    prepared = from_overrides([*words, *_places(outputs)])
    store = Store(prepared.cfg["paths"]["outputs"])
    with track.follow(prepared, store, wait=True) as said:
        row = pipeline.execute(prepared, store)
    for problem in said:
        say(problem)
    return Run(row, store)


def load(key: str, *, outputs: Path | str | None = None) -> Run:
    """A finished run by its key, or by as many of its first letters as tell it from others.

    Raises UserError where the store `outputs` has no such run, or several.
    """
    store = _store(outputs)
    return Run(store.find(key), store)


def rows(*where: str, outputs: Path | str | None = None, **equal: Any) -> Rows:
    """Finished runs, oldest first, with floors, ceilings and verdicts.

    `where` are words as after `--where`, as in `"defense.noise.sigma>=0.05"`; a keyword asks for equality, as in
    `dataset="cifar10"`. Raises UserError for a key that no row has.
    """
    return filtered(_store(outputs), where, equal)


def _store(outputs: Path | str | None) -> Store:
    return Store(config.compose(_places(outputs))["paths"]["outputs"])


def _places(outputs: Path | str | None) -> list[str]:
    return [] if outputs is None else [quoted("paths.outputs", str(outputs))]
