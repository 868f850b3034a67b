"""Hydra's launchers and sweepers, with our points and our bookkeeping."""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from splitpriv import options, overrides, stop, targets
from splitpriv.config import CONF, for_hydra
from splitpriv.launch.task import Task
from splitpriv.types import UserError

KILLED = ("TerminatedWorkerError", "BrokenProcessPool", "UncompletedJobError", "FailedJobError")  # of a process
SETTINGS = (
    ValueError,
    TypeError,
    AssertionError,
    RuntimeError,
)  # what launchers and sweepers of others raise at theirs
PLUGINS = {  # what to install for an option that Hydra does not bring
    "hydra/launcher=joblib": "splitpriv[joblib]",
    "hydra/launcher=slurm": "splitpriv[slurm]",
    "hydra/launcher=submitit_slurm": "hydra-submitit-launcher",
    "hydra/launcher=submitit_local": "hydra-submitit-launcher",
    "hydra/launcher=ray": "splitpriv[ray]",
    "hydra/launcher=rq": "hydra-rq-launcher",
    "hydra/sweeper=optuna": "splitpriv[optuna]",
    "hydra/sweeper=ax": "hydra-ax-sweeper",
    "hydra/sweeper=nevergrad": "hydra-nevergrad-sweeper",
}


@contextmanager
def launcher(
    words: Sequence[str], folder: Path, task: Task, jobs: Mapping[int, Sequence[str]]
) -> Iterator[Callable[[list[int]], Exception | None]]:
    """A function that runs points by their numbers, through the launcher that `words` name.

    It returns None, or why a process of the launcher ended before its point did. `jobs`: the overrides of each point.
    Hydra's files go to `folder` unless `words` say otherwise. Where they say nothing, points run in turn, in this
    process and without Hydra, which would compose each anew.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # what workers inherit: each computes on one thread
    if all(overrides.key_of(word).startswith(("hydra/sweeper", "hydra.sweeper")) for word in words):
        yield functools.partial(_in_turn, task)
        return
    with started(words, folder) as (config, context):
        if is_ours(config.hydra.launcher):
            with engine(config.hydra.launcher, "hydra.launcher", "Engine").ready(task) as run:
                yield run
            return
        from hydra.core.plugins import Plugins

        ours = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task.run, config=config)

        def run(numbers: list[int]) -> Exception | None:
            ours.task_function = functools.partial(_by_number, task, tuple(numbers))  # type: ignore[attr-defined]
            try:
                ours.launch([for_hydra(jobs[i]) for i in numbers], initial_job_idx=0)
            except Exception as error:
                stop.check()
                if type(error).__name__ in KILLED:
                    return error
                if not isinstance(error, SETTINGS):
                    raise
                first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
                raise UserError(f"hydra.launcher: {first}; correct its settings") from error
            return None

        yield run


def _in_turn(task: Task, numbers: Sequence[int]) -> None:
    for number in numbers:
        task.run(number)


def _by_number(task: Task, numbers: Sequence[int], composed: Any) -> None:
    """What Hydra's launchers call: they count the jobs of one call, and we all points of a sweep."""
    from hydra.core.hydra_config import HydraConfig

    task.run(numbers[HydraConfig.get().job.num])


def engine(node: Any, where: str, kind: str) -> Any:
    """A launcher or sweeper of ours, made from the settings that Hydra composed; raise UserError with all problems."""
    from omegaconf import OmegaConf

    problems: list[str] = []
    made = targets.bind(dict(OmegaConf.to_container(node, resolve=True)), where, problems, kind)  # type: ignore[arg-type]
    if problems:
        raise UserError(*problems)
    return made()


def is_ours(node: Any) -> bool:
    """Whether a launcher or a sweeper is one of this package."""
    return str(node.get("_target_")).startswith("splitpriv.")


def search(
    job: Sequence[str],
    words: Sequence[str],
    folder: Path,
    task: Callable[[Any], Any],
    plan: AbstractContextManager[None],
) -> None:
    """A sweep by a sweeper of others, which makes its points from `job`'s overrides and what `task` returns."""
    with started(words, folder) as (config, context):
        from hydra.core.plugins import Plugins

        sweeper = Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=task, config=config)
        with plan:
            sweeper.sweep(arguments=list(job))


@contextmanager
def started(words: Sequence[str], folder: Path) -> Iterator[tuple[Any, Any]]:
    """Hydra's own config and context, and its errors as a user's."""
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException
    from hydra.types import HydraContext, RunMode
    from hydra.version import setbase
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back to us instead of being printed by Hydra
    where = QuotedString(str(folder), Quote.single).with_quotes()
    GlobalHydra.instance().clear()
    setbase("1.3")
    try:
        main = Hydra.create_main_hydra2("splitpriv", options.search_path(CONF))
        told = [f"hydra.sweep.dir={where}", *overrides.last_of(words)[0]]
        config = main.compose_config("config", told, RunMode.MULTIRUN, with_log_configuration=False)
        yield config, HydraContext(config_loader=main.config_loader, callbacks=Callbacks(config))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explained(str(error))) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError("hydra.sweep.subdir: makes a name longer than a folder's may be; shorten it") from error
        raise
    except Exception as error:
        stop.check()
        if type(error).__name__ not in KILLED:
            raise
        raise UserError(
            "hydra.launcher: a process of the sweep was killed, for want of memory perhaps; lower "
            "hydra.launcher.n_jobs, and the same command continues"
        ) from error
    finally:
        GlobalHydra.instance().clear()


def _explained(error: str) -> str:
    """One line on what Hydra says of its own settings."""
    if lost := re.search(r"'hydra/(launcher|sweeper)/(\w+)'", error):
        option = f"hydra/{lost[1]}={lost[2]}"
        if option in PLUGINS:
            return f"{option}: is not installed; pip install '{PLUGINS[option]}'"
        known = [o for o in PLUGINS if o.startswith(f"hydra/{lost[1]}")]
        return f"{option}: there is no such plug-in here; known are {', '.join(known)}"
    first = next((line for line in error.splitlines() if line.strip()), "?").rstrip(". ")
    return f"hydra: {first}; settings read hydra/launcher=joblib hydra.launcher.n_jobs=2"
