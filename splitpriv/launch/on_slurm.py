"""Points as tasks of one Slurm array job, submitted by submitit; a point that reaches its time limit is requeued."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from splitpriv.launch import folder as place
from splitpriv.launch.engine import Engine, Run
from splitpriv.launch.task import Task
from splitpriv.store import say
from splitpriv.types import Count, Positive, UserError, Whole

LOGS = "slurm"  # in the folder of a sweep: what submitit keeps of each task
# What Slurm sends before the time limit, unless the environment says otherwise.
ASKS = ("SUBMITIT_PREEMPT_SIGNAL", "USR1")
EVERY = 2.0  # seconds between two looks at the queue
STUCK = {"PartitionTimeLimit", "PartitionNodeLimit", "PartitionDown", "PartitionInactive", "BadConstraints",
         "InvalidAccount", "InvalidQOS", "JobHeldAdmin"}  # fmt: skip  # why tasks may wait for ever
MISSED = 5  # looks at which a task was neither in the queue nor had left a result, before it counts as dead


@dataclass(frozen=True)
class Point:
    """What a task of the array runs; picklable, by reference to this package."""

    task: Task

    def __call__(self, number: int) -> None:
        self.task.run(number)

    def checkpoint(self, number: int) -> Any:
        """What submitit submits again when Slurm's signal came: the same, since a point keeps its state itself."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, number)


class Slurm(Engine):
    """The settings of conf/hydra/launcher/slurm.yaml, and the launch."""

    def __init__(
        self, *, minutes: Count, warning: Count, requeues: Whole, cpus: Count, gpus: Whole, memory: Positive,
        at_once: Count, partition: str | None, account: str | None, parameters: dict[str, Any],
    ) -> None:  # fmt: skip
        self.minutes, self.warning, self.requeues = minutes, warning, requeues
        self.cpus, self.gpus, self.memory, self.at_once = cpus, gpus, memory, at_once
        self.partition, self.account, self.parameters = partition, account, parameters

    @contextmanager
    def ready(self, task: Task) -> Iterator[Run]:
        """See that there is a Slurm that answers."""
        os.environ.setdefault(*ASKS)  # before the import, which reads it
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise UserError("hydra/launcher=slurm: is not installed; pip install 'splitpriv[slurm]'") from error
        missing = [name for name in ("sbatch", "squeue", "srun") if shutil.which(name) is None]
        if missing:
            raise UserError(f"hydra/launcher=slurm: there is no {missing[0]} here; run this on a login node of the "
                            "cluster, or use hydra/launcher=joblib")  # fmt: skip
        if self.warning >= 60 * self.minutes:
            raise UserError(f"hydra.launcher.warning: {self.warning} s is no less than the time limit; lower it")
        try:
            asked = subprocess.run(["squeue", "-h", "-j", "0"], capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired as error:
            raise UserError("hydra/launcher=slurm: squeue did not answer within 60 s; is the controller up?") from error
        if asked.returncode and "Invalid job id" not in asked.stderr:
            told = asked.stderr.strip().splitlines() or ["it gave no reason"]
            raise UserError(f"hydra/launcher=slurm: squeue fails: {told[-1]}")
        yield lambda numbers: self._run(task, numbers)

    def _run(self, task: Task, numbers: list[int]) -> None:
        import submitit

        os.environ.setdefault("OMP_NUM_THREADS", str(self.cpus))
        told: dict[str, Any] = {"slurm_partition": self.partition, "slurm_account": self.account}
        try:
            executor = submitit.AutoExecutor(
                folder=task.home / LOGS, cluster="slurm", slurm_max_num_timeout=self.requeues
            )
            executor.update_parameters(
                name="splitpriv", timeout_min=self.minutes, cpus_per_task=self.cpus, mem_gb=self.memory,
                slurm_signal_delay_s=self.warning, slurm_array_parallelism=self.at_once,
                slurm_additional_parameters={"requeue": True, **self.parameters},
                slurm_setup=[f"export {ASKS[0]}={os.environ[ASKS[0]]}"],
                **({"gpus_per_node": self.gpus} if self.gpus else {}), **{k: v for k, v in told.items() if v},
            )  # fmt: skip
            jobs = executor.map_array(Point(task), numbers)
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise UserError(f"hydra/launcher=slurm: sbatch refuses: {lines[-1].strip()}") from error
        array = jobs[0].job_id.partition("_")[0]
        say(f"Slurm job {array}: {len(jobs)} tasks; they go on without this command, too")
        _await(task, array, {str(job.job_id): number for job, number in zip(jobs, numbers, strict=True)})


def _await(task: Task, array: str, points: Mapping[str, int]) -> None:
    """Wait until every point has ended, or its task has left the queue without a word; accounting is not needed."""
    waiting, missed, told = dict(points), dict.fromkeys(points, 0), set[str]()
    while waiting:
        time.sleep(EVERY)
        queued = _queued(array)
        for reason in STUCK & set((queued or {}).values()) - told:
            told.add(reason)
            say(f"Slurm holds tasks of job {array} back: {reason}; they wait until that changes, or `splitpriv sweep "
                f"cancel {task.home.name}` ends them")  # fmt: skip
        if place.cancelled(task.home):
            subprocess.run(["scancel", "--state=PENDING", array], capture_output=True, check=False)
        for job, number in list(waiting.items()):
            if place.is_done(task.home, number) or place.failure(task.home, number):
                del waiting[job]
                continue
            missed[job] = missed[job] + 1 if queued is not None and job not in queued else 0
            if missed[job] < MISSED:
                continue
            del waiting[job]
            if not place.cancelled(task.home):
                lost = f"hydra/launcher=slurm: task {job} left the queue without a result; see {task.home / LOGS}"
                overrides = place.plan(task.home)["points"][number]["overrides"]
                place.leave(task.home, number, {"overrides": overrides, "problems": [lost]})


def _queued(array: str) -> dict[str, str] | None:
    """The tasks of an array that Slurm still knows of, and why they wait; None where it does not answer now."""
    try:
        asked = subprocess.run(["squeue", "-h", "-r", "-o", "%i %r", "-j", array], capture_output=True, text=True,
                               timeout=60, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    if asked.returncode:
        return {} if "Invalid job id" in asked.stderr else None
    return {job: why for job, _, why in (line.partition(" ") for line in asked.stdout.splitlines())}
