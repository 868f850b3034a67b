"""Standard output that is closed, full, or left by its reader: what was computed stands, and the place is named."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from splitpriv.store import say


class Streams:
    """The standard streams of one command; `lost`: something was to be printed that nobody can read."""

    def __init__(self) -> None:
        self.lost = False
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            if getattr(sys, name) is None:  # closed: the next file that is opened would take its number
                null = os.open(os.devnull, os.O_RDWR)
                if null != fd:
                    os.dup2(null, fd)
                    os.close(null)
                setattr(sys, name, open(fd, "r" if fd == 0 else "w", closefd=False))  # noqa: SIM115
                if fd == 1:
                    self._lose("is closed")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Print within the block: a reader that has left, such as `head`, is fine; anything else is said, once."""
        try:
            yield
            sys.stdout.flush()
        except OSError as error:
            if not broken(error):
                raise
            if not isinstance(error, BrokenPipeError):
                self._lose(f"{error.strerror}")
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _lose(self, why: str) -> None:
        if not self.lost:
            say(f"standard output: {why}; what was computed is in the store, print it elsewhere")
        self.lost = True


def broken(error: OSError) -> bool:
    """Whether standard output raised this, and no file: what it could not write is still waiting in its buffer."""
    if isinstance(error, BrokenPipeError):
        return True
    if error.filename is not None:
        return False
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False
