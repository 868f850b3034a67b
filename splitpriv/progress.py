"""Progress on long work: a bar where somebody watches, a plain line every few seconds where output goes to a file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm

EVERY = 5.0  # seconds between plain lines, whosoever's they are
LONG = 1.0  # seconds after which a bar within a bar is drawn
_printed = time.monotonic()


class Lines:
    """The same methods as a bar's, printing `label: done/total unit, what is known` on standard error."""

    def __init__(self, label: str, total: int | None, unit: str, initial: int) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, initial
        self.began = time.monotonic()
        self.postfix = ""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *stopped: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to clear."""

    def set_postfix(self, values: dict[str, str], refresh: bool = True) -> None:
        self.postfix = "".join(f", {name} {value}" for name, value in values.items())

    def update(self, count: int = 1) -> None:
        """Count; print where the last line of any is `EVERY` seconds old."""
        global _printed
        self.done += count
        now = time.monotonic()
        if now - _printed >= EVERY:
            _printed = now
            seconds = f"{now - self.began:.0f} s"
            far = self.done if self.total is None else f"{self.done}/{self.total}"
            line = f"{self.label}: {far} {self.unit}{self.postfix}, {seconds}"
            with suppress(OSError):  # whoever watched has left
                print(line, file=sys.stderr, flush=True)


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this, and can draw a bar."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel") and find_spec("ipywidgets") is not None


def steps(label: str, count: int) -> Iterator[int]:
    """0, 1, ... of `count` steps, with progress of their own: for what takes long within one step of another bar."""
    with bar(label, count, "step", delay=LONG) as told:
        for step in range(count):
            yield step
            told.update()


def bar(label: str, total: int | None, unit: str = "epoch", initial: int = 0, delay: float = 0.0) -> Any:
    """A bar on standard error or in a notebook, lines where there is neither; nothing when SPLITPRIV_PROGRESS=0.

    `total`: None where nobody knows yet how much there is to do.
    """
    silent = os.environ.get("SPLITPRIV_PROGRESS") == "0"
    if not silent and in_notebook():
        from tqdm.notebook import tqdm as drawn

        return drawn(total=total, initial=initial, desc=label, unit=unit, leave=False, delay=delay)
    if not silent and not sys.stderr.isatty():
        return Lines(label, total, unit, initial)
    return tqdm(total=total, initial=initial, desc=label, unit=unit, disable=silent, leave=False, dynamic_ncols=True,
                delay=delay)  # fmt: skip
