"""The only file that knows the order of the stages: config -> fit -> attack -> measure -> row."""

from __future__ import annotations

from functools import partial

<<<<<<< HEAD
from splitpriv.run import stages
from splitpriv.run.context import Run
from splitpriv.run.plan import Stage
from splitpriv.run.prepare import Prepared
from splitpriv.run.row import make_row, read_json
from splitpriv.store import Row, State, Store
=======
import torch
from torch import Tensor

from splitpriv.attacks.base import Access, Attack, Aux, answer, mean_of
from splitpriv.config import Config, build
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.measure import measure, pictures, traits
from splitpriv.measure.cost import cost
from splitpriv.progress import say
from splitpriv.run.fit import Job
from splitpriv.run.plan import Parts, Plan, assemble, make_model, make_monitor, plan
from splitpriv.run.row import make_row, overlaps, read_json
from splitpriv.run.train import load_weights, train_phase
from splitpriv.store import Row, State, Store, write_atomic
from splitpriv.store.state import load_tensors, save_tensors, seed_epoch
from splitpriv.types import Phase, blame

RECOVERED = "reconstructions.safetensors"
>>>>>>> e3818f7 (What was read of own images is said before a run and kept in its row; changelog)


def preview(prepared: Prepared, store: Store) -> tuple[list[tuple[Stage, State]], State]:
    """The state of each stage of a run, and that of its row."""
    plan = prepared.plan
    states = [(stage, store.state(stage.kind, stage.key)) for stage in plan.stages()]
    return states, "cached" if store.row(plan.row) else "missing"


def execute(prepared: Prepared, store: Store) -> Row:
    """Make a run's row; stages that are in the store return at once. Raise UserError for a user's mistake."""
    plan = prepared.plan
    finished = store.row(plan.row)
    if finished is not None:
        return finished
    run = Run(prepared, store, prepared.parts.runtime.start())
    _ = run.known  # what is wrong with the data shows before anything is trained
    if parts.dataset.reading:
        say(f"data: {line}" for line in parts.dataset.reading.lines(most=8))
    _ = run.model  # the row tells of every fit, also where all that follows from them is cached
    facts = read_json(store.memo("measure", plan.utility, partial(stages.utility, run)) / "facts.json")
    homes = {name: store.memo("attack", key, partial(stages.attack, run, name)) for name, key in plan.attacks.items()}
    scored = {name: store.memo("measure", key, partial(stages.score, run, name)) for name, key in plan.scores.items()}
    for name, (attack, scores) in plan.clean.items():
        store.memo("attack", attack, partial(stages.attack, run, name, clean=True))
        scored[f"clean/{name}"] = store.memo("measure", scores, partial(stages.score, run, name, clean=True))
    row = make_row(prepared, store, facts, homes, scored)
    store.add_row(row)
    return row
