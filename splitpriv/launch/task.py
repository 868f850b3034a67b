"""One point of a sweep, in any process of any engine."""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from splitpriv import stop
from splitpriv.config import Config
from splitpriv.launch import folder, running, trials
from splitpriv.store.locks import Lock
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.run.plan import Planned

Outcome = dict[str, Any]  # key of the row, or why it was pruned, or problems and overrides; seconds; host


@functools.cache
def code() -> str:
    """A fingerprint of the sources of this package: points of one sweep are computed by the same."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _turned(cfg: Config, number: int) -> Config:
    """A point's config on the device whose turn it is; `runtime` is part of no key."""
    if cfg["runtime"].get("device") != "each":
        return cfg
    from splitpriv.run.runtime import turn

    return {**cfg, "runtime": {**cfg["runtime"], "device": turn("each", number)}}


@dataclass(frozen=True)
class Task:
    """Runs points by their numbers; what becomes of each is left in the sweep's folder.

    `home`: the sweep's folder, in which each point has one by its number; `here`: where the command was given, from
    which relative paths count wherever an engine goes; `fail_fast`: whether a point that fails cancels the others;
    `shared`: whether workers must see `home`; not where the store is at an address, and outcomes come back.
    """

    home: Path
    here: Path
    code: str = ""
    fail_fast: bool = False
    shared: bool = True

    def run(self, number: int, planned: Planned | None = None) -> None:
        """Make a point's row, unless the sweep was cancelled; `planned`: it, where this process has checked it."""
        self.require_shared()
        if folder.cancelled(self.home):
            return
        place, thread = self.home / str(number), threading.get_ident()
        place.mkdir(exist_ok=True)

        def look() -> None:
            if folder.cancelled(self.home):
                stop.interrupt(thread, stop.Cancelled)

        try:
            with Lock(place / folder.LOCK, pulse=look), logged(place / folder.LOG):
                outcome = self.work(planned.cfg if planned else folder.config_of(self.home, number), number, planned)
                folder.leave(self.home, number, outcome)
        except stop.Cancelled:
            return
        if self.fail_fast and "problems" in outcome and not folder.cancelled(self.home):
            folder.cancel(self.home, f"point {number} failed, and --fail-fast was given")

    def require_shared(self) -> None:
        """Raise UserError where this machine does not see what the sweep left for its points."""
        if not (self.home / folder.POINTS).exists():
            raise UserError(
                f"paths.outputs: {socket.gethostname()} does not see {self.home}; choose a folder that all workers "
                "share, or an address such as s3://bucket/runs"
            )

    def work(self, cfg: Config, number: int, planned: Planned | None = None) -> Outcome:
        """What becomes of a point: the key of its row, or the problems. Writes nothing outside the store."""
        from splitpriv.run import known

        begun = time.time()
        about = {"host": socket.gethostname(), "began": round(begun)}
        if multiprocessing.current_process().name != "MainProcess":
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent ends this process
        try:
            self.require_same()
            with chdir(self.here) if self.here.is_dir() else nullcontext(), stop.watching(trials.judge(self.home)):
                row = running.point(planned or known.of(_turned(cfg, number)), wait=False)
            return {"key": row["key"], **about, "seconds": round(time.time() - begun, 2)}
        except stop.Pruned as why:
            return {"pruned": str(why), **about, "seconds": round(time.time() - begun, 2)}
        except Exception as error:
            problems = running.problems_of(error) or traceback.format_exc().splitlines()
            overrides = folder.plan(self.home).get("points", [])[number : number + 1]
            return {"overrides": overrides[0].get("overrides", []) if overrides else [], "problems": problems, **about,
                    "seconds": round(time.time() - begun, 2)}  # fmt: skip

    def require_same(self) -> None:
        """Raise UserError where this machine has other sources than the command."""
        if self.code and self.code != code():
            raise UserError(
                f"hydra.launcher: {socket.gethostname()} has another version of splitpriv ({code()}) than the command "
                f"({self.code}); install the same on every worker"
            )


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Keep what is printed in a file, too."""
    with path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as file:
        file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} on {socket.gethostname()}\n")
        out, err = Both(sys.stdout, file), Both(sys.stderr, file)
        with redirect_stdout(out), redirect_stderr(err):
            yield


class Both:
    """A stream whose every word goes to a file, too; a full disk there does not matter."""

    def __init__(self, stream: TextIO, file: TextIO) -> None:
        self.stream, self.file = stream, file

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self.file.write(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
