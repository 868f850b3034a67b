"""Signs of life: one thread that beats for all that this process holds. Imports no torch."""

from __future__ import annotations

import os
import threading
from typing import Protocol

from splitpriv import stop


class Held(Protocol):
    """What is kept alive by its `beat`, which says whether it is still ours; `felt` is called after it."""

    def beat(self) -> bool: ...

    def felt(self) -> None: ...


class Heart:
    """Beats every so many `seconds()` for whatever was added, as long as that is anything."""

    def __init__(self) -> None:
        self.held: dict[Held, int] = {}  # and the thread that holds it
        self.guard = threading.Lock()
        self.changed = threading.Event()
        self.pid = 0

    def add(self, what: Held, seconds: float) -> None:
        """Beat for this, too; where it was lost, the thread that adds it is interrupted by stop.LostLock."""
        with self.guard:
            if self.pid != os.getpid():  # a fork takes no thread along, nor what its parent holds
                self.pid, self.held = os.getpid(), {}
            begins = not self.held
            self.held[what] = threading.get_ident()
            if begins:
                self.changed = threading.Event()
                threading.Thread(target=self._run, args=(self.changed, seconds), daemon=True, name="heart").start()

    def remove(self, what: Held) -> None:
        """Beat for it no more; waits for a beat in progress."""
        with self.guard:
            self.held.pop(what, None)
            if not self.held:
                self.changed.set()

    def _run(self, ended: threading.Event, seconds: float) -> None:
        while not ended.wait(seconds):
            for what in list(self.held):
                with self.guard:
                    if what not in self.held or ended.is_set():
                        continue
                    if what.beat():
                        what.felt()
                    else:  # this process slept so long that another machine took it
                        stop.interrupt(self.held.pop(what), stop.LostLock)
                        if not self.held:
                            ended.set()


HEART = Heart()
