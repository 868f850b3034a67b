"""Hand the cells of a table to any of Hydra's launchers: rows are lists of overrides, not a product of values."""

from __future__ import annotations

import json
from collections.abc import Sequence

from splitpriv.launch import folder as place
from splitpriv.launch import sweeping
from splitpriv.store import Store, write_atomic
from splitpriv.tables.cells import FAILED, Cell
from splitpriv.tables.spec import Scale


def launch(cells: Sequence[Cell], words: Sequence[str], store: Store, name: str, scale: Scale) -> list[str]:
    """Run every cell, one after the other or as `hydra/launcher=...` says; return the problems of those that failed.

    A failed cell does not stop the others; what went wrong is kept by its key, until a later try ends well. `name` and
    `scale` of the table are for those who watch.
    """
    folder = place.fresh(store.root, name)
    told = ("row", "play", "seed", "attack_seed", "overrides")
    listed = [{k: getattr(cell, k) for k in told} for cell in cells]
    plans = [cell.prepared for cell in cells if cell.prepared]
    cfgs = [planned.cfg for planned in plans]
    sweeping.start(
        folder, listed, cfgs, words, names=[cell.key for cell in cells], plans=plans, table=name, scale=scale
    )
    problems = []
    for i, cell in enumerate(cells):
        note, lines = store.root / FAILED / f"{cell.key}.json", place.failure(folder, i)
        if not lines:
            note.unlink(missing_ok=True)
            continue
        if lines[0].startswith("Traceback"):  # its lines are one problem
            lines = ["\n".join(lines)]
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(note, json.dumps(lines))
        where = f"{cell.row} ({cell.play}, seed {cell.seed})"
        for problem in lines:
            end = f"; whole in {note}" if "\n" in problem else ""
            problems.append(f"{where}: {problem.splitlines()[-1]}{end}")
    return problems
