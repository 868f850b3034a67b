"""Sweeps: points run in turn, or through any engine; those that failed or were left are run again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv import config, overrides, plugins
from splitpriv.launch import folder as place
from splitpriv.launch import hydra, running
from splitpriv.launch.points import Point
from splitpriv.launch.task import Task, code
from splitpriv.store import say
from splitpriv.store.locks import is_held
from splitpriv.store.remote import is_address
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.run.plan import Planned

KILLED = "its process was killed twice, for want of memory perhaps; look into {}, and run fewer points at a time"
SHOWN = 3  # points that have the same problem, each on a line of its own


def launch(points: Sequence[Point], words: Sequence[str], folder: Path, *, fail_fast: bool = False) -> list[str]:
    """Run every point, with our bookkeeping in `folder`; return the problems of those that failed.

    `words`: the whole command's overrides, from which launchers take their settings. Hydra's own files lie where
    `hydra.sweep.dir` and `subdir` say: no point is looked for there.
    """
    listed = [{"overrides": list(point.words)} for point in points]
    plans = [point.prepared for point in points]
    return start(folder, listed, [planned.cfg for planned in plans], words, names=list(map(str, points)), plans=plans,
                 fail_fast=fail_fast, command=shlex.join(["splitpriv", "run", "-m", *words]))  # fmt: skip


def start(
    folder: Path, listed: Sequence[Mapping[str, Any]], cfgs: Sequence[config.Config], words: Sequence[str], *,
    names: Sequence[str], plans: Sequence[Planned] = (), fail_fast: bool = False, **about: Any,
) -> list[str]:  # fmt: skip
    """Run points that have a config each and are `listed` for those who watch, under `names`; return their problems.

    `plans`: those of the points, by which what has its row already is answered here, whatever the launcher.
    """
    told = [word for word in words if overrides.is_hydra(word)]
    pack = max((cfg["runtime"]["pack"] for cfg in cfgs), default=1)
    if pack > 1 and not any(overrides.key_of(word) == "hydra/launcher" for word in told):
        told += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={pack}"]  # that many runs share the device
    plugins.use(dict.fromkeys(entry for cfg in cfgs for entry in cfg.get("plugins", ())))  # swept, perhaps
    shared = not any(is_address(cfg["paths"]["outputs"]) for cfg in cfgs if "paths" in cfg)
    task = Task(folder, Path.cwd(), code(), fail_fast, shared)
    jobs = {i: point["overrides"] for i, point in enumerate(listed)}
    about |= {"launcher": told, "here": str(task.here)}
    with hydra.launcher(told, folder, task, jobs) as run, place.planned(folder, listed, cfgs, **about):
        answered = [i for i, planned in enumerate(plans) if running.answered(planned) is not None]
        for i in answered:
            task.run(i, plans[i])
        if todo := sorted(jobs.keys() - answered):
            complete(folder, run, todo)
    return problems(folder, dict(enumerate(names)))


def open_points(folder: Path) -> tuple[list[int], list[int]]:
    """The points of a sweep that failed, and those that it left without an end, if nobody works at it any more."""
    numbers = range(len(_listed(folder)))
    failed = [i for i in numbers if place.failure(folder, i)]
    if is_held(folder / place.LOCK):
        return failed, []
    ended = {*failed, *(i for i in numbers if place.is_done(folder, i))}
    return failed, [i for i in numbers if i not in ended and not is_held(folder / str(i) / place.LOCK)]


def retry(folder: Path, words: Sequence[str]) -> list[str]:
    """Run again what failed, and what a sweep that ended early left; `words` may name another engine than its own."""
    plan, listed = place.plan(folder), _listed(folder)
    failed, left = open_points(folder)
    todo = sorted({*failed, *left})
    say(f"{folder.name}: {len(failed)} failed, {len(left)} left without an end; {len(listed) - len(todo)} others stay")
    if not todo:
        return []
    told = overrides.last_of([*plan.get("launcher", []), *words])[0]
    if any(overrides.key_of(word) == "hydra/launcher" for word in words):  # its settings are another's
        told = list(words)
    task = Task(folder, Path(plan.get("here") or Path.cwd()), code())
    jobs = {i: listed[i]["overrides"] for i in todo}
    plugins.use(dict.fromkeys(entry for i in todo for entry in place.config_of(folder, i).get("plugins", ())))
    with hydra.launcher(told, folder, task, jobs) as run, place.resumed(folder):
        for i in failed:
            (folder / str(i) / place.FAILED).unlink(missing_ok=True)
        complete(folder, run, todo)
    return problems(folder, {i: f"point {i}" for i in todo})


def _listed(folder: Path) -> list[dict[str, Any]]:
    points = place.plan(folder).get("points")
    if not isinstance(points, list) or not (folder / place.CONFIGS).is_dir():
        raise UserError(f"sweep {folder.name}: left no plan, as sweeps of older versions did; repeat its command")
    return points


def complete(folder: Path, run: Callable[[list[int]], Exception | None], numbers: Sequence[int]) -> None:
    """Run points until each has ended. One whose process was killed runs again, alone, and fails if that is killed."""
    todo = list(numbers)
    while todo and not place.cancelled(folder):
        killed = run(todo)
        left = [i for i in todo if not _ended(folder, i)]
        if killed is None:
            return
        suspects = [i for i in left if (folder / str(i)).is_dir()]
        if not suspects:
            raise killed
        for i in suspects:
            say(f"point {i}: its process was killed; it is tried again, alone")
            if run([i]) is not None and not _ended(folder, i):
                home = folder / str(i)
                place.leave(
                    folder, i, {"overrides": _listed(folder)[i]["overrides"], "problems": [KILLED.format(home)]}
                )
        todo = [i for i in left if i not in suspects]


def _ended(folder: Path, number: int) -> bool:
    return place.is_done(folder, number) or bool(place.failure(folder, number))


def problems(folder: Path, names: Mapping[int, str]) -> list[str]:
    """What went wrong at the points of a sweep, under their names; the same at many of them is told once."""
    why = place.cancelled(folder)
    same: dict[tuple[str, ...], list[str]] = {}
    open_ = 0
    for i, name in names.items():
        left = place.failure(folder, i)
        if not left and not place.is_done(folder, i):
            open_ += 1
            left = [] if why else [f"ended without a result and without a word; look into {folder / str(i)}"]
        if left:
            same.setdefault(tuple(left), []).append(name)
    lines = []
    for told, at in same.items():
        shown = at if len(at) <= SHOWN else [f"{at[0]}, and {len(at) - 1} other points"]
        lines += [f"[{name}] {line}" for name in shown for line in told]
    if why:
        lines.append(f"sweep {folder.name}: {why}; {open_} of its points have no end; `splitpriv sweep retry "
                     f"{folder.name}` goes on")  # fmt: skip
    return lines
