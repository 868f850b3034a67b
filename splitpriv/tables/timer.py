"""Seconds of kinds of work: of finished stages, or measured here once each and kept in the store, within seconds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from splitpriv import stop
from splitpriv.store import Store, read_json, write_atomic
from splitpriv.store.keys import fingerprint

TIMES = "table/times.json"  # in the store: seconds by fingerprint of what was timed
SECONDS = 20.0  # of the processor, after which no further kind of work is timed
FIRST = 12.0  # which the first of its kind has, whatever is left

Note = Callable[[str], None]


class Timer:
    """Seconds per unit of work, told by finished stages or else measured once per kind of work and kept in the store,
    within `seconds` in all.
    """

    def __init__(self, store: Store, note: Note = print, seconds: float = SECONDS) -> None:
        self.path, self.note, self.left = store.root / TIMES, note, seconds
        self.alike: dict[str, list[Any]] = {}  # what was found of the same network
        self.failed: set[str] = set()
        self.told: dict[str, float] = {}  # by finished stages
        self.known: dict[str, Any] = read_json(self.path, {})

    def tell(self, seconds: float, alike: Any = None, **what: Any) -> None:
        """Note what a finished stage took per unit of this work; of several the most counts."""
        key = fingerprint(**what)
        self.told[key] = max(seconds, self.told.get(key, 0.0))
        if alike is not None:
            self.alike.setdefault(fingerprint(alike=alike), []).append(seconds)

    def heard(self, **what: Any) -> float | None:
        """What finished stages told of this work."""
        return self.told.get(fingerprint(**what))

    def give_up(self, label: str, why: str) -> None:
        """Say once that this work is not timed."""
        if label not in self.failed:
            self.note(f"cannot time {label}: {why}")
        self.failed.add(label)

    def get(self, label: str, measure: Callable[[], Any], alike: Any = None, **what: Any) -> Any:
        """The result of `measure()` for this work on this machine, or of an earlier call; None where it failed.

        When the time for measuring is over: the largest of those that were found with the same `alike`.
        """
        if (heard := self.heard(**what)) is not None:
            return heard
        import torch

        machine = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        key = fingerprint(**what, machine=machine, threads=torch.get_num_threads(), torch=str(torch.__version__))
        kind = fingerprint(alike=alike)
        over = self.left <= 0 and (self.alike.get(kind) or self.left < -FIRST)
        if key not in self.known and (over or key in self.failed):
            return max(self.alike.get(kind, []), default=None)
        if key not in self.known:
            begun = time.process_time()
            self.note(f"timing {label}")
            try:
                with _within(max(self.left, FIRST)):
                    self.known[key] = measure()
            except TimeoutError:
                self.note(f"cannot time {label}: takes longer than a plan may")
                self.failed.add(key)
                return max(self.alike.get(kind, []), default=None)
            except Exception as error:  # an estimate must not stop a plan
                self.note(f"cannot time {label}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
                self.failed.add(key)
                return None
            finally:
                self.left -= time.process_time() - begun
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, json.dumps(self.known))
        if alike is not None:
            self.alike.setdefault(kind, []).append(self.known[key])
        return self.known[key]


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block, between two steps, once it has had the processor for so many seconds."""
    ended, thread, begun = threading.Event(), threading.get_ident(), time.process_time()

    def watch() -> None:
        while not ended.wait(0.05):
            if time.process_time() - begun > seconds:
                stop.interrupt(thread, TimeoutError)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
