"""Sweeps whose points a sweeper makes while it runs, such as Optuna's, from what `objective` names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from splitpriv import config, overrides
from splitpriv.launch import points, sweeping
from splitpriv.run import aims
from splitpriv.store import say
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.run.plan import Planned


def checked(words: Sequence[str]) -> tuple[Planned, set[str]]:
    """The first point that may be made, and the parts that points have; raise UserError where one cannot run."""
    jobs, _ = points.settle(points.ends(words))
    for line in overrides.last_of(words)[1]:
        say(line)
    runs = points.prepare(jobs)
    if not runs[0].prepared.cfg["objective"]:
        raise UserError(
            "objective: has no value; name what the sweeper optimises, as in objective=utility/accuracy, or several: "
            "'objective=[utility/accuracy,privacy/worst/mse]'"
        )
    return runs[0].prepared, set().union(*(config.parts_of(job) for job in points.ends(words)))


def run(words: Sequence[str], home: Callable[[Planned], Path]) -> list[str]:
    """Let the sweeper search, in the folder that `home` names; return the problems of points that failed."""
    prepared, known = checked(words)
    chosen = {overrides.key_of(word): overrides.value_of(word) for word in words}
    if chosen["hydra/sweeper"] == "optuna" and "hydra.sweeper.direction" not in chosen:
        columns = aims.names(prepared.cfg["objective"])
        ways = aims.directions(columns)
        told = ways[0] if len(ways) == 1 else f"[{','.join(ways)}]"
        words = [*words, f"hydra.sweeper.direction={told}"]
        say(f"objective: {', '.join(f'{way} {name}' for way, name in zip(ways, columns, strict=True))}; "
            "hydra.sweeper.direction says otherwise")  # fmt: skip
    return sweeping.search(words, home(prepared), known)
