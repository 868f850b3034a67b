"""Standard output that is closed, full, left by its reader or lacks a letter: what was computed stands, and is told."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from splitpriv.store import say

# What stands for a letter that the encoding of the stream lacks; any other is spelt out.
SPELT = {"↑": "^", "↓": "v", "·": "-", "−": "-", "–": "-", "≥": ">=", "≤": "<=", "×": "x", "±": "+/-", "…": "...",
         "σ": "sigma", "ε": "eps", "²": "2", "“": '"', "”": '"', "’": "'", "→": "->", "•": "*"}  # fmt: skip

_lost: list[str] = []  # why something could not be printed, in this process


def ready() -> None:
    """Give closed streams to the null device, before the next file that is opened takes their number."""
    _lost.clear()
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            setattr(sys, name, open(fd, "r" if fd == 0 else "w", closefd=False, encoding="utf-8"))  # noqa: SIM115
            if fd == 1:
                _lose("is closed")
    _tolerate()


def _tolerate() -> None:
    """Let both streams spell what their encoding lacks, whatever PYTHONIOENCODING or the system make of them."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", SPELLING) != SPELLING and hasattr(stream, "reconfigure"):
            with suppress(OSError):  # its file was put in the place of another: it stays as it is
                stream.reconfigure(errors=SPELLING)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(SPELT.get(c) or c.encode("unicode_escape").decode() for c in letters), error.end


SPELLING = "splitpriv.spell"
codecs.register_error(SPELLING, _spell)


@contextmanager
def shown() -> Iterator[None]:
    """Print within the block: a reader that has left, such as `head`, is fine; anything else is said, once."""
    _tolerate()  # in a worker of a sweep, too
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if not broken(error):
            raise
        if not isinstance(error, BrokenPipeError):
            _lose(f"{error.strerror}")
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def lost() -> bool:
    """Whether something was to be printed that nobody can read."""
    return bool(_lost)


def _lose(why: str) -> None:
    if not _lost:
        say(f"standard output: {why}; what was computed is in the store, print it elsewhere")
    _lost.append(why)


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
