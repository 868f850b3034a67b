"""Trackers as processes of their own: of a run they know what lies in the store, and of its end by a closed pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import splitpriv
from splitpriv import plugins
from splitpriv.config import Config
from splitpriv.store import Row, Store
from splitpriv.targets import build
from splitpriv.track.base import Tracker

if TYPE_CHECKING:
    from splitpriv.run.prepare import Prepared


# Neither the working folder nor that of our own sources is where a tracker's process looks for modules: a wandb.py or a
# torch.py may lie there. It is our package that it takes from its place.
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); import splitpriv; del sys.path[0]; "
    "from splitpriv.track.__main__ import main; main()"
)
PLACE = Path(splitpriv.__file__).parents[1]


@contextmanager
def follow(prepared: Prepared, store: Store, wait: bool) -> Iterator[list[str]]:
    """Let the trackers that a run lists follow the run that the block makes; what went wrong with them, afterwards.

    A single run waits for each as long as its patience lasts; a point of a sweep does not `wait`. No tracker raises.
    """
    trackers = prepared.cfg["track"]
    if not trackers:
        yield []
        return
    from splitpriv.run.row import head

    with _following(head(prepared), trackers, store, wait) as said:
        yield said


def record(row: Row, trackers: Mapping[str, Config], store: Store) -> list[str]:
    """Let the listed trackers record a finished row, once; what went wrong until their patience ended."""
    with _following(row, trackers, store, wait=True) as said:
        pass
    return said


@contextmanager
def _following(head: Row, trackers: Mapping[str, Config], store: Store, wait: bool) -> Iterator[list[str]]:
    said: list[str] = []
    built = {name: build(node, f"track.{name}")() for name, node in trackers.items()}
    begun: list[_Process] = []

    def start(live: bool) -> None:
        for name in (name for name, tracker in built.items() if tracker.live is live):
            try:
                process = _start(name, built[name], trackers[name], head, store, wait)
            except Exception as error:  # of whatever kind: it is the tracker's, and the run's no concern
                said.append(f"track {name}: did not start, the run is safe: {error}")
            else:
                begun.extend([process] if process else [])

    try:
        start(live=True)
        yield said
        start(live=False)
    finally:
        for process in begun:
            with suppress(OSError):  # it ended before
                process.pipe.close()
    if wait:
        said += [problem for process in begun if (problem := process.problem())]


@dataclass
class _Process:
    """One tracker at work on one run, which is over when its end of the pipe closes: a kill does that, too."""

    name: str
    patience: float
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pipe(self) -> IO[bytes]:
        assert self.popen.stdin is not None
        return self.popen.stdin

    def problem(self) -> str | None:
        """What went wrong until patience ended."""
        try:
            code = self.popen.wait(timeout=self.patience)
        except subprocess.TimeoutExpired:
            return (
                f"track {self.name}: still at work after {self.patience:g} s; "
                f"it goes on in the background (see {self.log})"
            )
        last = (self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"])[-1]
        return f"track {self.name}: failed, the run is safe: {last} (see {self.log})" if code else None


def _start(name: str, tracker: Tracker, node: Config, head: Row, store: Store, wait: bool) -> _Process | None:
    """The process of a tracker, unless it has recorded this run already."""
    home = store.root / "track" / name
    run_id = tracker.run_id(head["key"], alone=wait)
    if not isinstance(run_id, str) or Path(run_id).name != run_id:  # several runs would have one mark
        raise ValueError(f"its run_id is {run_id!r:.80}; return a text without a slash, another for each run")
    if (home / f"{run_id}.done").exists():
        return None
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{run_id}.log").open("w", encoding="utf-8") as log:
        popen = subprocess.Popen(
            [sys.executable, "-P", "-c", START, str(PLACE)], stdin=subprocess.PIPE, stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"},
        )  # fmt: skip
    process = _Process(name, tracker.patience, popen, home / f"{run_id}.log")
    order = {"name": name, "node": node, "run_id": run_id, "root": str(store.root), "head": head,
             "plugins": [plugin.entry for plugin in plugins.active()]}  # fmt: skip
    process.pipe.write(json.dumps(order).encode() + b"\n")
    process.pipe.flush()
    return process
