"""Locks on a folder that machines may share. Whoever holds one shows signs of life; see docs/cluster.md.

The system's own lock (flock) decides between processes of one machine: it is free as soon as its holder is gone,
however that ended. Between machines it may do nothing, or outlive a machine that died. So a holder also leaves a note
beside the lock and rewrites it every `BEAT` seconds. A note of another machine counts as alive until it is `DEAD`
seconds old and stays as it is under the eyes of whoever waits: no clock has to agree with another. Imports no torch.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from splitpriv.store.heart import HEART

BEAT = 5.0  # seconds between two signs of life
DEAD = 60.0  # age in seconds of the last one, from which a holder on another machine counts as dead
LOCKLESS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # of a folder without flock
LOOK = 0.1  # seconds between two looks at a lock that another process holds

__all__ = ["Lock", "Timeout", "holder", "is_held"]

Note = dict[str, Any]  # host, name (of the machine, for people), pid, token, beat


def _host() -> str:
    """What all processes share between which flock decides: a running kernel."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return socket.gethostname()


HOST = _host()


class Lock:
    """The lock at `path`, for a `with`; `pulse` is called in another thread at every beat while it is held.

    Entering waits for `timeout` seconds at most, without end where it is None, and raises filelock's Timeout.
    """

    def __init__(self, path: Path, timeout: float | None = None, pulse: Callable[[], None] | None = None) -> None:
        self.path, self.timeout, self.pulse = path, timeout, pulse
        self.note = path.with_name(f"{path.name}.beat")
        self.token = secrets.token_hex(8)
        self.beats = 0
        self.flock: FileLock | None = None

    def __enter__(self) -> Lock:
        end = None if self.timeout is None else time.monotonic() + self.timeout
        seen: tuple[str | None, float] = (None, 0.0)  # what the note says, and since when it has said so
        while True:
            system = self._flock()
            text, age = _read(self.note, self.path)
            if text != seen[0]:
                seen = text, time.monotonic()
            dead = age > DEAD and time.monotonic() - seen[1] > 2 * BEAT
            if (system is not False and self._is_free(text, system, dead)) and self._claim(text):
                HEART.add(self, BEAT)
                return self
            if system is False and dead and _parsed(text).get("host", HOST) != HOST:
                self._set_aside(text)  # the system keeps the lock of a machine that died
            self._let_go()
            if end is not None and time.monotonic() >= end:
                raise Timeout(str(self.path))
            time.sleep(LOOK)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Hold what `__enter__` took already."""
        try:
            yield
        finally:
            self.__exit__()

    def __exit__(self, *raised: object) -> None:
        HEART.remove(self)
        if _parsed(_read(self.note)[0]).get("token") == self.token:
            self.note.unlink(missing_ok=True)
        self._let_go()

    def _flock(self) -> bool | None:
        """Whether the system gives us the lock; None where it has none for such a folder."""
        self.flock = FileLock(self.path, timeout=0)
        try:
            self.flock.acquire()
        except Timeout:
            return False
        except NotImplementedError:  # what filelock made of ENOSYS
            self.flock = None
            return None
        except OSError as error:
            if error.errno not in LOCKLESS:
                raise
            self.flock = None
            return None
        return True

    def _let_go(self) -> None:
        if self.flock is not None:
            self.flock.release()
            self.flock = None

    def _is_free(self, text: str | None, system: bool | None, dead: bool) -> bool:
        """Whether nobody lives who left this note; we have the system's lock, or there is none."""
        if text is None:
            return True
        note = _parsed(text)
        if note.get("host") != HOST:
            return dead
        return bool(system) or not _runs(note)

    def _claim(self, text: str | None) -> bool:
        """Leave our note in place of the one that says `text`, None: of none; False where somebody else was faster.

        It is written before it has its name: whoever is killed meanwhile leaves no note that says nothing.
        """
        if text is not None:
            self._set_aside(text)
        scratch = self.note.with_name(f".{self.note.name}.{os.getpid()}")
        try:
            scratch.write_text(self._written(), encoding="utf-8")
            _name(scratch, self.note)
        except FileExistsError:
            return False
        finally:
            scratch.unlink(missing_ok=True)
        return True

    def _set_aside(self, text: str | None) -> None:
        """Remove the note that says `text`, and the lock that the system keeps for its dead machine."""
        aside = self.note.with_name(f".{self.note.name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            self.note.rename(aside)
            if _read(aside)[0] != text:  # that of somebody who came between
                aside.rename(self.note)
                return
            aside.unlink()
            if self.flock is None or not self.flock.is_locked:
                self.path.unlink(missing_ok=True)

    def _written(self) -> str:
        return json.dumps({"host": HOST, "name": socket.gethostname(), "pid": os.getpid(), "token": self.token,
                           "beat": self.beats})  # fmt: skip

    def felt(self) -> None:
        """What to do at every beat."""
        if self.pulse:
            self.pulse()

    def beat(self) -> bool:
        """A sign of life; False where the lock is no longer ours."""
        text, _ = _read(self.note)
        note = _parsed(text)
        if note and note.get("token") != self.token:
            return False
        self.beats += 1
        scratch = self.note.with_name(f".{self.note.name}.{os.getpid()}")
        with suppress(OSError):  # a full disk, or a folder that went
            scratch.write_text(self._written(), encoding="utf-8")
            scratch.replace(self.note)
        return True


def holder(path: Path) -> Note:
    """What whoever holds the lock at `path` says of itself; empty where nobody says anything."""
    return _parsed(_read(path.with_name(f"{path.name}.beat"))[0])


def is_held(path: Path) -> bool:
    """Whether a process of any machine holds the lock at `path`, as far as can be told without waiting."""
    text, age = _read(path.with_name(f"{path.name}.beat"))
    note = _parsed(text)
    if note and note.get("host") != HOST:
        return age <= DEAD
    try:
        import fcntl

        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            fcntl.flock(file, fcntl.LOCK_UN)
    except FileNotFoundError:
        return False
    except (ImportError, OSError):
        return bool(note) and _runs(note)
    return False


def _read(note: Path, lock: Path | None = None) -> tuple[str | None, float]:
    """What a note says, None where there is none, and its age in seconds; by the folder's own clock where `lock` may be
    touched."""
    try:
        with note.open(encoding="utf-8") as file:
            text, written = file.read(), os.fstat(file.fileno()).st_mtime
    except OSError:
        return None, 0.0
    now = time.time()
    if lock is not None:
        with suppress(OSError):
            os.utime(lock)  # the server's clock, which also dated the note
            now = lock.stat().st_mtime
    return text, now - written


def _name(scratch: Path, note: Path) -> None:
    """Give a written file the name of a note; raise FileExistsError where there is one."""
    try:
        os.link(scratch, note)
    except FileExistsError:
        raise
    except OSError:  # a folder without links: who is killed between these lines leaves a note that says nothing
        os.close(os.open(note, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        scratch.replace(note)


def _parsed(text: str | None) -> Note:
    try:
        note = json.loads(text or "")
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _runs(note: Note) -> bool:
    """Whether a process of this machine runs; for folders without a lock of the system's."""
    try:
        os.kill(int(note["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError, TypeError):
        return False
    except PermissionError:
        return True
    return True
