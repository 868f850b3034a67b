"""The only file that knows the order of the stages: config -> fit -> attack -> measure -> row."""

from __future__ import annotations

from functools import partial

from splitpriv.measure import samples
from splitpriv.run import stages
from splitpriv.run.context import Run
from splitpriv.run.prepare import Prepared
from splitpriv.run.row import make_row, read_json
from splitpriv.store import Row, Store, say


def execute(prepared: Prepared, store: Store) -> Row:
    """Make a run's row; stages that are in the store return at once. Raise UserError for a user's mistake."""
    plan = prepared.plan
    finished = store.row(plan.row)
    if finished is not None:
        return finished
    run = Run(prepared, store, prepared.parts.runtime.start())
    run.require_data()  # what is wrong with the data shows before anything is trained
    prepared.say_reading()
    shared = read_json(run.kept("measure", plan.copies, partial(stages.copies, run)) / "facts.json")
    for flag in samples.copies(shared, prepared.cfg["protocol"]["overlap"]):
        say(f"data: {flag.text}")
    _ = run.model  # the row tells of every fit, also where all that follows from them is cached
    facts = read_json(run.kept("measure", plan.utility, partial(stages.utility, run)) / "facts.json")
    homes = {name: run.kept("attack", key, partial(stages.attack, run, name)) for name, key in plan.attacks.items()}
    scored = {name: run.kept("measure", key, partial(stages.score, run, name)) for name, key in plan.scores.items()}
    for name, (attack, scores) in plan.clean.items():
        run.kept("attack", attack, partial(stages.attack, run, name, clean=True))
        scored[f"clean/{name}"] = run.kept("measure", scores, partial(stages.score, run, name, clean=True))
    row = make_row(prepared, store, facts, shared, homes, scored)
    store.add_row(row)
    return row
