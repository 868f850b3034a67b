"""Sweeps: Hydra expands the overrides and launches the points, in turn or through any of its launchers."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from splitpriv import stop
from splitpriv.config import CONF, resolve
from splitpriv.launch import running
from splitpriv.store import write_atomic
from splitpriv.types import UserError

# In the folder of a sweep, and in that of each point. A held LOCK means that the process lives: a kill frees it.
LOCK, POINTS, DONE, FAILED = "lock", "points.json", "done.json", "failed.json"
KILLED = ("TerminatedWorkerError", "BrokenProcessPool")  # what launchers say of a process that was killed


def points(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every point of a sweep, as Hydra's basic sweeper would expand them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(f"overrides: {str(error).splitlines()[0]}; quote lists and sweeps for the shell") from error
    if any(o.key_or_group == "hydra/sweeper" for o in parsed):  # such a sweeper picks its points while it runs
        return [[o.input_line for o in parsed if not o.is_sweep_override() and o.input_line]]
    jobs = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
    return [list(job) for job in jobs]


@contextmanager
def planned(folder: Path, points: Sequence[Mapping[str, Any]], **about: Any) -> Iterator[None]:
    """Leave in `folder` what a sweep will run, for those who watch, and hold its lock while it does.

    Each point has its `overrides`, and whatever else names it; `about` is said of the whole sweep.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        write_atomic(folder / POINTS, json.dumps({**about, "points": list(points)}))
        yield


def launch(overrides: Sequence[str], folder: Path) -> list[str]:
    """Run every point, with Hydra's bookkeeping in `folder`; return the problems of those that failed."""
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to us instead of being printed by Hydra
    arguments = sys.argv
    quoted = str(folder).replace("'", r"\'")  # spaces, commas and brackets mean something to Hydra
    sys.argv = ["splitpriv", "-m", f"hydra.sweep.dir='{quoted}'", *overrides]
    jobs = [{"overrides": job} for job in points(overrides)]
    try:
        with planned(folder, jobs, command=shlex.join(["splitpriv", "run", "-m", *overrides])):
            hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(task)()
    except Exception as error:
        stop.check()
        if type(error).__name__ not in KILLED:
            raise
        raise UserError(
            "hydra.launcher: a process of the sweep was killed, for want of memory perhaps; lower "
            "hydra.launcher.n_jobs, and the same command continues"
        ) from error
    finally:
        sys.argv = arguments
    left = [json.loads(path.read_text()) for path in sorted(folder.glob(f"*/{FAILED}"))]
    return [f"[{' '.join(point['overrides'])}] {problem}" for point in left for problem in point["problems"]]


def task(composed: Any) -> None:
    """One point of a sweep, in any process of the launcher; done.json names its row, failed.json the problems."""
    from hydra.core.hydra_config import HydraConfig

    from splitpriv.run.prepare import prepare

    job = HydraConfig.get()
    home = Path(job.runtime.output_dir)
    if multiprocessing.current_process().name != "MainProcess":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent ends this process
    with FileLock(home / LOCK):
        try:
            row = running.point(prepare(resolve(composed, job.runtime.choices)), wait=False)
            write_atomic(home / DONE, json.dumps({"key": row["key"]}))
        except Exception as error:
            problems = running.problems_of(error) or traceback.format_exc().splitlines()
            left = {"overrides": list(job.overrides.task), "problems": problems}
            write_atomic(home / FAILED, json.dumps(left))
