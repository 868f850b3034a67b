"""The store: every stage is built once, under a lock, and marked done last. Imports no torch."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from splitpriv import plain
from splitpriv.store import locks, proof, rows
from splitpriv.store.remote import Remote, is_address
from splitpriv.store.rows import Row
from splitpriv.types import UserError

State = Literal["cached", "failed", "partial", "missing"]
NAMED = 3  # files that are no rows, in one line
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
BARRED = {errno.EROFS, errno.EACCES, errno.EPERM}


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a kill, never meets half of it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)
        scratch.replace(path)
    except BaseException:  # a full disk, or a signal
        scratch.unlink(missing_ok=True)
        raise


def read_json(path: Path, otherwise: Any) -> Any:
    """What a file of the bookkeeping holds; `otherwise` where there is none, or what a crash left is not like it."""
    with suppress(OSError, ValueError, RecursionError):
        held = json.loads(path.read_text(encoding="utf-8"))
        return held if isinstance(held, type(otherwise)) else otherwise
    return otherwise


def unwritable(error: OSError) -> UserError:
    """What a user can do about a store that cannot be written."""
    remedy = (
        "free some space"
        if error.errno in FULL
        else "choose a folder you may write to"
        if error.errno in BARRED
        else "mend that place"
    )
    why = "there is something that is no folder" if error.errno == errno.EEXIST else error.strerror  # or a dead link
    where = f" ({error.filename})" if error.filename else ""
    return UserError(
        f"paths.outputs: {why}{where}; {remedy}, or set paths.outputs or SPLITPRIV_OUTPUTS to another place"
    )


class Store:
    """Results under one folder: `<stage>/<key>/` for every stage, `rows/<key>.json` for every finished run."""

    def __init__(self, root: Path | str) -> None:
        self.remote = Remote(str(root)) if is_address(root) else None
        self.root = self.remote.cache if self.remote else Path(root).expanduser().absolute()
        self.wrong: dict[str, str] | None = None  # of the last reading of all rows, what was none

    def home(self, stage: str, key: str) -> Path:
        """The folder of a stage."""
        return self.root / stage / key

    def state(self, stage: str, key: str) -> State:
        """Whether the stage is finished, ended in an error, was begun, or was never tried; looks into no file."""
        home = self.home(stage, key)
        if (home / "done").exists():
            return "cached"
        if (home / "failed").exists():
            return "failed"
        return "partial" if home.is_dir() and any(home.iterdir()) else "missing"

    def made(self, stage: str, key: str) -> dict[str, Any]:
        """How a finished stage was made, as far as it says."""
        try:
            return dict((proof.recorded(self.home(stage, key)) or {}).get(proof.MADE, {}))
        except ValueError:
            return {}

    def memo(self, stage: str, key: str, build: Callable[[Path], None], *, leaves: Sequence[str] = (),
             made: Callable[[], Mapping[str, Any]] = dict) -> Path:  # fmt: skip
        """The folder of a stage, built by `build(folder)`, which `leaves` some files there, unless it is done.

        Processes that need the same stage wait for one another. An interrupted build finds its folder as it left it; a
        failed one leaves its traceback in `failed` beside what it wrote, and is tried again by the next call. A stage
        is done when its files are what they were when it was: otherwise one line says so, the damaged ones go, and it
        is built again from what is left. `done` tells their hashes, how they were `made`, and the seconds of wall and
        processor that the last call took.
        """
        home = self.home(stage, key)
        if self.remote:
            self.remote.pull(f"{stage}/{key}")
        if proof.damage(home, leaves) == {}:
            return home
        _make(self.root / "rows")  # where the work's result will go
        _make(home)
        with _alone(home.with_name(f"{key}.lock"), f"{stage}/{key}"):
            wrong = proof.damage(home, leaves)
            if wrong == {}:
                return home
            if wrong:
                say(f"{stage}/{key}: {', '.join(f'{name} is {what}' for name, what in wrong.items())}; built again")
            for name in (*(wrong or ()), "done", "failed"):
                (home / name).unlink(missing_ok=True)
            begun = time.perf_counter(), time.process_time()
            try:
                build(home)
            except Exception:
                write_atomic(home / "failed", traceback.format_exc())
                raise
            took = {"wall_s": time.perf_counter() - begun[0], "cpu_s": time.process_time() - begun[1]}
            write_atomic(home / "done", proof.record(home, {**made(), **{k: round(v, 3) for k, v in took.items()}}))
        if self.remote:
            self.remote.push(f"{stage}/{key}")
        return home

    def add_row(self, row: Row) -> Path:
        """Write a finished run's row; the same run writes the same file."""
        path = self.root / "rows" / f"{row['key']}.json"
        _make(path.parent)
        write_atomic(path, proof.seal(plain.finite(row), indent=1))
        if self.remote:
            self.remote.push(f"rows/{path.name}")
        return path

    def row(self, key: str) -> Row | None:
        """One row by its key, or None; of a damaged one a line says that it counts as missing."""
        if Path(key).name != key:  # a place elsewhere
            return None
        path = self.root / "rows" / f"{key}.json"
        if self.remote and not path.exists():
            self.remote.pull_rows(key)
        try:
            return rows.row(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            _say_once(f"{path}: {error}; it counts as missing, and the run that made it makes it again")
            return None

    def find(self, start: str) -> Row:
        """The row whose key is, or alone begins with, `start`; raise UserError where there is none, or several."""
        if whole := self.row(start) if start else None:
            return whole
        keys = sorted(path.stem for path in (self.root / "rows").glob("*.json"))
        near = [key for key in keys if start and key.startswith(start)]
        found = self.row(near[0]) if len(near) == 1 else None
        if found is not None:
            return found
        if len(near) > 1:
            raise UserError(
                f"key: {start} begins {len(near)} keys, {', '.join(near[:NAMED])}; give more of its letters"
            )
        raise UserError(f"key: no run in {self.root} has a key that begins with {start!r}; `splitpriv rows` lists them")

    def rows(self, where: Mapping[str, str] | None = None) -> list[Row]:
        """All rows whose values are those that `where` writes, oldest first; one line names what is no row."""
        whole, wrong = self.read_rows()
        if wrong:
            named = "; ".join(f"{name} {why}" for name, why in list(wrong.items())[:NAMED])
            more = (
                f"; and {len(wrong) - NAMED} more, which `splitpriv store verify` names" if len(wrong) > NAMED else ""
            )
            _say_once(f"left out {len(wrong)} of {len(whole) + len(wrong)} rows in {self.root / 'rows'}: {named}{more}")
        return [row for row in whole if all(rows.equals(row.get(k), v) for k, v in (where or {}).items())]

    def read_rows(self, anew: bool = False) -> tuple[list[Row], dict[str, str]]:
        """All rows, oldest first, and what is wrong with every other file among them, by its name; `anew`: trusting no
        index.
        """
        if self.remote:
            self.remote.pull_rows()
        whole, self.wrong = rows.read(self.root / "rows", anew)
        return whole, self.wrong


def _make(folder: Path) -> None:
    """Have a folder that can be written to, or raise UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    except OSError as error:
        raise unwritable(error) from error


@functools.cache
def _say_once(text: str) -> None:
    say(text)


def say(line: str) -> None:
    """One line for whoever watches."""
    with suppress(OSError):  # whoever watched has left
        print(f"splitpriv: {plain.line(line)}", file=sys.stderr, flush=True)


@contextmanager
def _alone(path: Path, label: str) -> Iterator[None]:
    """Hold the lock at `path`, and say so when another process has it."""
    lock = locks.Lock(path, timeout=0)
    try:
        lock.__enter__()
    except locks.Timeout:
        note = locks.holder(path)
        where = f" on {note.get('name')}" if note.get("host", locks.HOST) != locks.HOST else ""
        say(f"waiting for another process{where} that builds {label}")
        lock.timeout = None
        lock.__enter__()
    with lock.entered():
        yield
