"""An index beside many rows: their text, once read and found whole, in one SQLite file.

It is a copy that nobody needs: whatever is wrong with it, it is left alone, or begun anew, and the rows are read.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

NAME = ".index.sqlite"
LEAST = 200  # rows below which files are as fast
VERSION = "1"  # of what is kept here, and of what makes a row whole
WAIT = 0.2  # seconds for somebody who writes


class Index:
    """What is known of the rows in `folder`: name -> row, as long as the file has the same stamp."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def read(self, stamps: Mapping[str, str]) -> dict[str, dict[str, Any] | None]:
        """The rows whose files still have these stamps, and a None for every other row that is kept."""
        known: dict[str, dict[str, Any] | None] = {}
        if not self.path.exists():
            return known
        try:
            with contextlib.closing(self._open("ro")) as base:
                for name, stamp, check, text in base.execute("select name, stamp, crc, text from checked"):
                    whole = stamps.get(name) == stamp and zlib.crc32(text.encode()) == check
                    known[name] = json.loads(text) if whole else None  # SQLite itself notices no flipped bit
        except (sqlite3.Error, ValueError, TypeError, AttributeError):
            self._begin_anew()
            return {}
        return known

    def write(self, rows: Iterable[tuple[str, str, Mapping[str, Any]]], gone: Iterable[str]) -> None:
        """Keep rows by name with the stamps of their files, forget those that are gone; in vain where that fails."""
        try:
            with contextlib.closing(self._open("rwc")) as base, base:
                base.execute(
                    "create table if not exists checked (name text primary key, stamp text, crc integer, text text)"
                )
                base.executemany("delete from checked where name = ?", [(name,) for name in gone])
                texts = [(name, stamp, json.dumps(row)) for name, stamp, row in rows]
                lines = [(name, stamp, zlib.crc32(text.encode()), text) for name, stamp, text in texts]
                base.executemany("insert or replace into checked values (?, ?, ?, ?)", lines)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):  # no lock, no space, no right to write: another time
                self._begin_anew()

    def _open(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, timeout=WAIT)

    def _begin_anew(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
