"""Signals that ask a run to end: answered at once, because nothing is lost by that.

State is written whole once an epoch, and every epoch is seeded by its own name: the one that was cut short is computed
again by the next call and ends in the numbers that it would have had.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Slurm sends SIGTERM before SIGKILL, SIGUSR1 where a script asks for it (`--signal=B:USR1@90`); a terminal that closes
# sends SIGHUP.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
PATIENCE = 2.0  # seconds in which one request may arrive several times, as from `timeout` and Ctrl-C to a whole group

_asked: list[tuple[int, float]] = []  # the first signal and when it came


class Stopped(BaseException):
    """A signal asked this process to end; `code` is the exit code that a shell expects of it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.name, self.code = signal.Signals(signum).name, 128 + signum


class Cancelled(BaseException):
    """Somebody, perhaps on another machine, asked the point of a sweep that this process works at to end."""


class LostLock(BaseException):
    """This process showed no sign of life for so long that another machine works at its stage: it has to end."""


class Pruned(BaseException):
    """A trial of a search that is given up; says why."""


_watching: list[Callable[[Sequence[Mapping[str, Any]]], None]] = []


@contextmanager
def watching(look: Callable[[Sequence[Mapping[str, Any]]], None]) -> Iterator[None]:
    """Within the block `look` sees the curve of every training after each of its epochs, and may end it by raising."""
    _watching.append(look)
    try:
        yield
    finally:
        _watching.remove(look)


def epoch_ended(curve: Sequence[Mapping[str, Any]]) -> None:
    """Show the curve so far, a record per epoch, to whoever watches; training calls it when its state is kept."""
    for look in _watching:
        look(curve)


def interrupt(thread: int, reason: type[BaseException]) -> None:
    """Raise `reason` in another thread of this process, at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(reason))


@contextmanager
def signals() -> Iterator[None]:
    """Within the block each of SIGNALS raises `Stopped`, and a second one, some seconds later, ends the process.

    Signals that the caller ignores (`nohup`, a background job) or handles (submitit, which requeues) stay theirs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    free = (signal.SIG_DFL, signal.default_int_handler)
    before = {s: handler for s in SIGNALS if (handler := signal.getsignal(s)) in free}
    for s in before:
        signal.signal(s, _raise)
    try:
        yield
        check()
    except Exception:
        check()  # a compiled extension puts an error of its own in the place of `Stopped`
        raise
    finally:
        _asked.clear()
        for s, handler in before.items():
            signal.signal(s, handler)


def _raise(signum: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if not _asked:
        _asked.append((signum, now))
        raise Stopped(signum)
    if now - _asked[0][1] > PATIENCE:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)


def check() -> None:
    """Raise `Stopped` where a signal came and its exception was lost, as in a destructor; steps call it."""
    if _asked:
        raise Stopped(_asked[0][0])
