"""Sweeps whose points a sweeper makes while it runs, such as Optuna's, from what `objective` names."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv import config, overrides
from splitpriv.launch import folder as place
from splitpriv.launch import hydra, points, sweeping
from splitpriv.launch.task import Task, code
from splitpriv.run import aims
from splitpriv.store import Store, say, write_atomic
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
    folder = home(prepared)
    with hydra.started([word for word in words if overrides.is_hydra(word)], folder) as (composed, _):
        node = composed.hydra.sweeper
        ours = hydra.engine(node, "hydra.sweeper", "Optuna") if hydra.is_ours(node) else None
    if ours is not None:
        return list(ours.search(words, prepared, known, folder))
    job = [o.input_line for o in points.read(words)]
    told = [word for word in words if overrides.is_hydra(word)]
    task = Trial(folder, Path.cwd(), code(), known=frozenset(known))
    broken: Exception | None = None
    try:
        hydra.search(
            job, told, folder, task, place.planned(folder, [], command=shlex.join(["splitpriv", "run", "-m", *words]))
        )
    except UserError as error:
        broken = error
    except hydra.SETTINGS as error:
        broken = UserError(f"hydra.sweeper: {next(iter(str(error).splitlines()), type(error).__name__)}")
    numbers = sorted(int(path.parent.name) for path in folder.glob(f"*/{place.FAILED}"))
    problems = sweeping.problems(folder, {i: f"point {i}" for i in numbers})
    if broken and not problems:
        raise broken
    return problems


@dataclass(frozen=True)
class Trial(Task):
    """A point that a sweeper of others makes while it runs; `known`: the parts whose settings a point may lack."""

    known: frozenset[str] = frozenset()

    def __call__(self, composed: Any) -> Any:
        """Run it; what its `objective` names is returned."""
        from hydra.core.hydra_config import HydraConfig

        job = HydraConfig.get()
        number, words = int(job.job.num), points.fit(list(job.overrides.task), set(self.known))
        cfg = config.compose(words)
        write_atomic(self.home / place.CONFIGS / f"{number}.json", json.dumps(cfg))
        self.run(number)
        if left := place.failure(self.home, number):
            raise UserError(*left)  # a sweeper has to know
        row = Store(cfg["paths"]["outputs"]).row(place.key_of(self.home, number))
        return aims.values(cfg["objective"], row or {})
