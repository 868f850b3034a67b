"""Points by Ray's own interface, on this machine or on a cluster. Every worker has to have this package."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from splitpriv.config import Config
from splitpriv.launch import folder as place
from splitpriv.launch.engine import Engine, Run
from splitpriv.launch.task import Outcome, Task
from splitpriv.store import write_atomic
from splitpriv.store.remote import is_address
from splitpriv.types import Count, Positive, UserError, Whole

WHERE = "hydra.launcher.address"
LOOK = "import os, sys, ray; ray.init(address=sys.argv[1], log_to_driver=False); ray.nodes(); os._exit(0)"


class Ray(Engine):
    """The settings of conf/hydra/launcher/ray.yaml, and the launch."""

    def __init__(
        self, *, address: str | None, cpus: Positive, gpus: Annotated[float, Interval(ge=0)], workers: Count | None,
        retries: Whole, patience: Positive,
    ) -> None:  # fmt: skip
        self.address, self.cpus, self.gpus, self.workers = address, cpus, gpus, workers
        self.retries, self.patience = retries, patience

    @contextmanager
    def ready(self, task: Task) -> Iterator[Run]:
        """Reach the cluster within `patience` seconds, or start Ray here, and see that every node can do the work."""
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise UserError("hydra/launcher=ray: is not installed; pip install 'splitpriv[ray]'") from error
        if self.address is not None:
            self._require_answer(self.address)
        handler = signal.getsignal(signal.SIGTERM)
        local: dict[str, Any] = {"num_cpus": self.workers, "include_dashboard": False}
        with _as_a_user_s("hydra/launcher=ray"):
            ray.init(address=self.address or "local", log_to_driver=False, logging_level=logging.ERROR,
                     **({} if self.address else local))  # fmt: skip
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, handler)  # Ray put its own in its place
        try:
            self._require_room(ray.cluster_resources())
            self._require_same(ray, task)
            yield lambda numbers: self._run(ray, task, numbers)
        finally:
            ray.shutdown()

    def _require_answer(self, address: str) -> None:
        """Raise UserError where nobody answers at an address: Ray itself would wait there for ever, or abort."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or "/" in address:
            raise UserError(f"{WHERE}: {address} is no address; give HOST:PORT of the cluster's head, as `ray start "
                            "--head` prints it")  # fmt: skip
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=min(self.patience, 10)).close()
        except (OSError, OverflowError, UnicodeError) as error:
            raise UserError(f"{WHERE}: nobody answers at {address} ({error}); is the cluster up? `ray start --head` "
                            "begins one") from error  # fmt: skip
        try:
            looked = subprocess.run([sys.executable, "-c", LOOK, address], timeout=self.patience, capture_output=True,
                                    text=True, check=False)  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{WHERE}: what answers at {address} did not act as Ray's head within {self.patience:g} s; "
                            "correct the address, or raise hydra.launcher.patience") from error  # fmt: skip
        if looked.returncode:
            raise UserError(f"{WHERE}: {address}: {_last(looked.stderr)}")

    def _require_room(self, there: dict[str, float]) -> None:
        for key, name, wanted in (("CPU", "cpus", self.cpus), ("GPU", "gpus", self.gpus)):
            if wanted > there.get(key, 0):
                raise UserError(f"hydra.launcher.{name}: a run asks for {wanted:g}, and the cluster has "
                                f"{there.get(key, 0):g}; lower it")  # fmt: skip

    def _require_same(self, ray: Any, task: Task) -> None:
        """Raise UserError where a node has other sources, none, or does not see the store."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self.address is None:
            return
        task.home.parent.mkdir(parents=True, exist_ok=True)
        token = task.home.parent / f".shared.{secrets.token_hex(6)}"
        write_atomic(token, "")
        try:
            nodes = [node for node in ray.nodes() if node["Alive"]]
            look = ray.remote(num_cpus=0, max_retries=0)(fit)
            asked = {
                look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                    task, token
                ): node["NodeManagerHostname"]
                for node in nodes
            }
            ended, waiting = ray.wait(list(asked), num_returns=len(asked), timeout=self.patience)
            problems = [f"{WHERE}: the node {asked[one]} did not answer within {self.patience:g} s" for one in waiting]
            for one in ended:
                try:
                    problems += [told for told in [ray.get(one)] if told]
                except Exception as error:
                    problems.append(f"hydra.launcher: the node {asked[one]} cannot run splitpriv: {_last(str(error))}; "
                                    "install the same version there")  # fmt: skip
            if problems:
                raise UserError(*problems)
        finally:
            token.unlink(missing_ok=True)

    def _run(self, ray: Any, task: Task, numbers: list[int]) -> None:
        """Run points, each on its share of a node; Ray runs those again whose node or process died."""
        work = ray.remote(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries, retry_exceptions=False, max_calls=0
        )(point)
        cfgs = {i: place.config_of(task.home, i) for i in numbers}
        sent = {i: cfg if is_address(cfg["paths"]["outputs"]) else None for i, cfg in cfgs.items()}
        waiting = {work.options(name=f"point {i}").remote(task, i, sent[i]): i for i in numbers}
        try:
            while waiting:
                ended, _ = ray.wait(list(waiting), num_returns=1, timeout=1.0)
                for one in ended:
                    number = waiting.pop(one)
                    try:
                        if outcome := ray.get(one):
                            place.leave(task.home, number, outcome)
                    except Exception as error:
                        if place.is_done(task.home, number) or place.failure(task.home, number):
                            continue
                        told = f"hydra/launcher=ray: point {number}: {_last(str(error))}"
                        overrides = place.plan(task.home)["points"][number]["overrides"]
                        place.leave(task.home, number, {"overrides": overrides, "problems": [told]})
        except BaseException:
            for one in waiting:
                with suppress(Exception):
                    ray.cancel(one, force=False)
            raise


def fit(task: Task, token: Path) -> str:
    """What is wrong with the node that this runs on; empty where nothing is."""
    try:
        task.require_same()
    except UserError as error:
        return error.problems[0]
    if task.shared and not token.exists():
        return (f"paths.outputs: {socket.gethostname()} does not see {token.parent.parent}; choose a folder that all "
                "nodes share")  # fmt: skip
    return ""


def point(task: Task, number: int, cfg: Config | None) -> Outcome | None:
    """One point, in a worker of Ray's; its outcome goes back where the store is at an address and `cfg` came along."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if cfg is not None:
        return task.work(cfg, number)
    task.run(number)
    return None


@contextmanager
def _as_a_user_s(what: str) -> Iterator[None]:
    try:
        yield
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        raise UserError(f"{what}: {_last(str(error))}") from error


def _last(text: str) -> str:
    """The line of a traceback that says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "ended without a word").rstrip(".")
