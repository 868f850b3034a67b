"""Hand the cells of a table to any of Hydra's launchers: rows are lists of overrides, not a product of values."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from splitpriv.config import CONF
from splitpriv.launch.sweeping import FAILED as LEFT
from splitpriv.launch.sweeping import planned, task
from splitpriv.store import Store, write_atomic
from splitpriv.tables.cells import FAILED, Cell
from splitpriv.tables.spec import Scale
from splitpriv.types import UserError


def launch(cells: Sequence[Cell], hydra: Sequence[str], store: Store, name: str, scale: Scale) -> list[str]:
    """Run every cell, one after the other or as `hydra/launcher=...` says; return the problems of those that failed.

    A failed cell does not stop the others; what went wrong is kept by its key, until a later try ends well. `name` and
    `scale` of the table are for those who watch.
    """
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = store.root / "multirun" / f"{stamp}_{os.getpid()}_{name}"
    told = ("row", "play", "seed", "attack_seed", "overrides")
    plan = planned(folder, [{k: getattr(cell, k) for k in told} for cell in cells], table=name, scale=scale)
    _hydra([cell.overrides for cell in cells], hydra, folder, plan)
    problems = []
    for i, cell in enumerate(cells):
        note, left = store.root / FAILED / f"{cell.key}.json", folder / str(i) / LEFT
        if not left.exists():
            note.unlink(missing_ok=True)
            continue
        lines = json.loads(left.read_text())["problems"]
        if lines[0].startswith("Traceback"):  # its lines are one problem
            lines = ["\n".join(lines)]
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(note, json.dumps(lines))
        where = f"{cell.row} ({cell.play}, seed {cell.seed})"
        for problem in lines:
            end = f"; whole in {note}" if "\n" in problem else ""
            problems.append(f"{where}: {problem.splitlines()[-1]}{end}")
    return problems


def _hydra(
    jobs: Sequence[Sequence[str]], overrides: Sequence[str], folder: Path, plan: AbstractContextManager[None]
) -> None:
    """What Hydra's basic sweeper does once it has its jobs, within `plan`."""
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.errors import HydraException
    from hydra.types import HydraContext, RunMode
    from hydra.version import setbase

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to us instead of being printed by Hydra
    quoted = str(folder).replace("'", r"\'")
    GlobalHydra.instance().clear()
    setbase("1.3")
    try:
        main = Hydra.create_main_hydra2("splitpriv", create_config_search_path(str(CONF)))
        try:
            cfg = main.compose_config(
                "config", [f"hydra.sweep.dir='{quoted}'", *overrides], RunMode.MULTIRUN, with_log_configuration=False
            )
        except HydraException as error:
            first = str(error).splitlines()[0]
            remedy = "give launcher settings as hydra/launcher=joblib hydra.launcher.n_jobs=2"
            raise UserError(f"hydra: {first}; {remedy}") from error
        context = HydraContext(config_loader=main.config_loader, callbacks=Callbacks(cfg))
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=cfg)
        with plan:
            launcher.launch([list(job) for job in jobs], initial_job_idx=0)
    finally:
        GlobalHydra.instance().clear()
