"""Sweeps: points run in turn, through any of Hydra's launchers, or as a sweeper makes them."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shlex
import signal
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from splitpriv import config, overrides, plugins
from splitpriv.config import Config
from splitpriv.launch import hydra, points, running
from splitpriv.launch.points import Point
from splitpriv.run import aims
from splitpriv.store import write_atomic
from splitpriv.types import UserError

# In the folder of a sweep, and in that of each point. A held LOCK means that the process lives: a kill frees it.
LOCK, POINTS, DONE, FAILED = "lock", "points.json", "done.json", "failed.json"
CONFIGS = "configs"  # in that of a sweep: the config of each of its points, by number


def fresh(root: Path, name: str = "") -> Path:
    """A folder below `root` for the sweep that begins now, called by time, process and perhaps what it is of."""
    stamp = "_".join([time.strftime("%Y-%m-%d_%H-%M-%S"), str(os.getpid()), *([name] if name else [])])
    names = itertools.chain([stamp], (f"{stamp}_{again}" for again in itertools.count(2)))
    places = (root / "multirun" / each for each in names)  # a process may begin several sweeps in one second
    return next(place for place in places if not place.exists())


@contextmanager
def planned(
    folder: Path, points: Sequence[Mapping[str, Any]], cfgs: Sequence[Config] = (), **about: Any
) -> Iterator[None]:
    """Leave in `folder` what a sweep will run, for those who watch, and hold its lock while it does.

    Each point has its `overrides`, and whatever else names it; `about` is said of the whole sweep. The points' configs
    are kept, so that what was checked is what runs, whoever composes again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        write_atomic(folder / POINTS, json.dumps({**about, "points": list(points)}))
        (folder / CONFIGS).mkdir(exist_ok=True)
        for i, cfg in enumerate(cfgs):
            write_atomic(folder / CONFIGS / f"{i}.json", json.dumps(cfg))
        yield


def launch(points: Sequence[Point], words: Sequence[str], folder: Path) -> list[str]:
    """Run every point, with our bookkeeping in `folder`; return the problems of those that failed.

    `words`: the whole command's overrides, from which launchers take their settings. Hydra's own files lie where
    `hydra.sweep.dir` and `subdir` say: no point is looked for there.
    """
    told = [word for word in words if overrides.is_hydra(word)]
    task = Task(folder, Path.cwd())
    jobs = [config.for_hydra(point.words) for point in points]
    listed = [{"overrides": list(point.words)} for point in points]
    plugins.use(dict.fromkeys(entry for point in points for entry in point.prepared.cfg["plugins"]))  # swept, perhaps
    plan = planned(folder, listed, [point.prepared.cfg for point in points], command=_command(words))
    hydra.launch(jobs, told, folder, task, plan)
    problems = []
    for i, point in enumerate(points):
        left = failure(folder, i)
        if not left and not (folder / str(i) / DONE).exists():
            left = [f"ended without a result and without a word; look into {folder / str(i)}"]
        problems += [f"[{point}] {problem}" for problem in left]
    return problems


def search(words: Sequence[str], folder: Path, known: set[str]) -> list[str]:
    """The same where a sweeper makes the points; `known`: the parts whose settings a point may lack."""
    job = [o.input_line for o in points.read(words)]
    told = [word for word in words if overrides.is_hydra(word)]
    task = Task(folder, Path.cwd(), made=False, known=frozenset(known))
    broken: Exception | None = None
    try:
        hydra.search(job, told, folder, task, planned(folder, [], command=_command(words)))
    except UserError as error:
        broken = error
    except (ValueError, AssertionError, RuntimeError) as error:  # what sweepers raise at their own settings
        broken = UserError(f"hydra.sweeper: {next(iter(str(error).splitlines()), type(error).__name__)}")
    numbers = sorted(int(path.parent.name) for path in folder.glob(f"*/{FAILED}"))
    problems = [f"[point {i}] {problem}" for i in numbers for problem in failure(folder, i)]
    if broken and not problems:
        raise broken
    return problems


def failure(folder: Path, number: int) -> list[str]:
    """What went wrong at a point of a sweep, if anything did."""
    left = folder / str(number) / FAILED
    return list(json.loads(left.read_text())["problems"]) if left.exists() else []


def _command(words: Sequence[str]) -> str:
    return shlex.join(["splitpriv", "run", "-m", *words])


@dataclass(frozen=True)
class Task:
    """One point of a sweep, in any process of a launcher; done.json names its row, failed.json the problems.

    `home`: the sweep's folder, in which each point has one by its number; `here`: where the command was given, from
    which relative paths count wherever Hydra goes; `made`: whether `planned` left all configs, or a sweeper makes them.
    """

    home: Path
    here: Path
    made: bool = True
    known: frozenset[str] = frozenset()

    def __call__(self, composed: Any) -> Any:
        """Run it; what its `objective` names is returned."""
        from hydra.core.hydra_config import HydraConfig

        from splitpriv.run import known

        job = HydraConfig.get()
        home, words = self.home / str(job.job.num), list(job.overrides.task)
        home.mkdir(parents=True, exist_ok=True)
        if multiprocessing.current_process().name != "MainProcess":
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent ends this process
        with chdir(self.here), FileLock(home / LOCK):
            try:
                if self.made:
                    prepared = known.of(json.loads((self.home / CONFIGS / f"{job.job.num}.json").read_text()))
                else:
                    prepared = known.planned(points.fit(words, set(self.known)))
                row = running.point(prepared, wait=False)
                numbers = aims.values(prepared.cfg["objective"], row)
                write_atomic(home / DONE, json.dumps({"key": row["key"]}))
                return numbers
            except Exception as error:
                problems = running.problems_of(error) or traceback.format_exc().splitlines()
                write_atomic(home / FAILED, json.dumps({"overrides": words, "problems": problems}))
                if not self.made:
                    raise  # a sweeper has to know
                return None
