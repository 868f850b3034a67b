"""Reading rows: each file is a row or is named with what is wrong with it, and none hides the others."""

from __future__ import annotations

import functools
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitpriv import plain
from splitpriv.heap import growing
from splitpriv.metrics import GROUPS
from splitpriv.store import index, proof

Row = dict[str, Any]

LIMIT = 64_000_000  # bytes of a row; the longest of ours has a few
FRESH = 1_000_000_000  # nanoseconds
REQUIRED = ("key", "chain", "seed")
TEXTS = ("key", "chain", "dataset", "backbone", "split", "task", "optim", "protocol", "knowledge", "monitor", "setting",
         "precision", "headline", "ceiling", "study", "way", "verdict", "commit", "suite")  # fmt: skip
WHOLE = ("seed", "attack_seed", "victims")
NUMBERS = ("protocol.attacked", "protocol.limit.victims", "optim.epochs")  # of which readers compute
LISTS = ("fit", "stages")  # of texts
MAY_LACK = ("text", "a number", "a setting", "a path within the store")  # null: not known
FLAG = ("kind", "subject", "text", "remedy")


@growing()
def read(folder: Path, anew: bool = False) -> tuple[list[Row], dict[str, str]]:
    """The rows in a folder, oldest first, and what is wrong with every other `.json` there, by its name.

    `anew`: from the files themselves, whatever the index holds.
    """
    names = sorted(path.name for path in folder.glob("*.json"))
    known = index.Index(folder) if len(names) >= index.LEAST and not anew else None
    stamps = {name: stamp for name in names if known and (stamp := _stamp(folder / name))}
    kept = known.read(stamps) if known else {}
    dated: list[tuple[int, str, Row]] = []
    wrong: dict[str, str] = {}
    fresh: list[tuple[str, str, Row]] = []
    for name in names:
        path = folder / name
        try:
            entries = kept.get(name)
            if entries is None:
                entries = row(path)
                fresh += [(name, stamps[name], entries)] if name in stamps else []
            dated.append((path.lstat().st_mtime_ns, name, entries))
        except FileNotFoundError:  # it went meanwhile
            continue
        except ValueError as error:
            wrong[name] = str(error)
    gone = kept.keys() - set(names)
    if known and (fresh or gone):
        known.write(fresh, gone)
    return [each for *_, each in sorted(dated, key=lambda each: each[:2])], wrong


def _stamp(path: Path) -> str | None:
    """What changes with a file; None for what is no file, or may change again before its time does."""
    try:
        about = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(about.st_mode) or time.time_ns() - about.st_mtime_ns < FRESH:
        return None
    marks = (index.VERSION, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
    return " ".join(map(str, marks))


def row(path: Path) -> Row:
    """The row in a file, read once per process while that does not change; raise ValueError where it is none."""
    try:
        about = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except (OSError, ValueError) as error:  # a name that no file can have
        raise ValueError(f"cannot be looked at: {error}") from None
    if not stat.S_ISREG(about.st_mode):
        what = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}.get(stat.S_IFMT(about.st_mode), "a special file")
        raise ValueError(f"is {what}")
    fresh = time.time_ns() - about.st_mtime_ns < FRESH  # it may be written again before its time changes
    outcome = (_read.__wrapped__ if fresh else _read)(
        path, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino
    )
    if isinstance(outcome, str):
        raise ValueError(outcome)
    return outcome.copy()


@functools.lru_cache(maxsize=4096)
def _read(path: Path, size: int, *stamp: int) -> Row | str:
    """The row, or why there is none: a reader who asks again is not to read the same damage again."""
    if size > LIMIT:
        return f"has {size / 1e6:,.0f} MB, more than any row"
    try:
        entries = plain.restored(proof.unseal(path.read_bytes().decode(), since="stages"))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return f"is no row ({plain.line(str(error))})"
    wrong = fault(entries, path.stem)
    return f"is no row ({plain.line(wrong)})" if wrong else entries


def fault(entries: Row, name: str) -> str | None:
    """What keeps an entry of a row from being read; None where nothing does. `name` is what its file is called."""
    missing = [key for key in REQUIRED if entries.get(key) is None]
    if missing:
        return f"lacks {' and '.join(missing)}"
    for key, value in entries.items():
        wanted = _wanted(key)
        if wanted and not wanted[1](value) and not (value is None and wanted[0] in MAY_LACK):
            return f"{key[:80]} is not {wanted[0]}"
    if entries["key"] != name or plain.line(name) != name:
        return f"its key {entries['key'][:80]!r} is not its name"
    return None


def _wanted(key: str) -> tuple[str, Any] | None:
    """What the value of an entry must be, in words and as a test; None where anything will do."""
    group, _, rest = key.partition("/")
    if not rest:
        if key in TEXTS:
            return "text", _is_text
        if key in WHOLE:
            return "a whole number", lambda value: isinstance(value, int) and _is_number(value)
        if key in NUMBERS:
            return "a number", _is_number
        if key in LISTS:
            return "a list of texts", lambda value: isinstance(value, list) and all(map(_is_text, value))
        if key == "flags":
            return "a list of flags", lambda value: isinstance(value, list) and all(map(_is_flag, value))
        if key == "trajectory":
            return "a list of epochs", lambda value: isinstance(value, list) and all(map(_is_note, value))
        return ("a setting", lambda value: not isinstance(value, Mapping)) if "." in key else None
    if group in GROUPS:
        if group in ("privacy", "ceiling", "clean") and "/" not in rest:
            return "a metric of an attack", lambda value: False
        return "a number", _is_number
    if group in ("picture", "scores"):
        return "a path within the store", _is_within
    return ("text", _is_text) if group == "binds" else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_flag(value: Any) -> bool:
    """A record, or a line of before."""
    if not isinstance(value, Mapping):
        return _is_text(value)
    return set(FLAG[:3]) <= set(value) <= set(FLAG) and all(map(_is_text, value.values()))


def _is_note(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_text(value.get("phase", ""))


def _is_within(value: Any) -> bool:
    return _is_text(value) and not Path(value).is_absolute() and ".." not in Path(value).parts and "\0" not in value


def equals(value: Any, wanted: str) -> bool:
    """Whether a value of a row is what somebody wrote: numbers as numbers, else true, false, null, or the text."""
    if isinstance(value, str):
        return value == wanted
    if value is None or isinstance(value, bool):
        return wanted.lower() == {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        number = as_number(wanted)
        return number is not None and (value == number or (value != value and number != number))
    return wanted == plain.dumps({"": value})[5:-1]


def as_number(text: str) -> float | None:
    """The number that a text writes, whichever way: 5e-2, 0.05, 1, 1.0, nan."""
    try:
        return float(text)
    except ValueError:
        return None
