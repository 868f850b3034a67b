"""A tracker: a line of text for every finished run."""

from __future__ import annotations

from pathlib import Path

from splitpriv.store import Row, Store
from splitpriv.track.base import Tracker, name_of, numbers
from splitpriv.types import NonNegative


class Diary(Tracker):
    """<outputs>/track/diary/diary.md, one line per run: its chain, and the numbers that begin with one of `shown`.

    It runs in a process of its own and reads the store, so it can neither slow nor fail a run.
    """

    def __init__(self, *, shown: list[str], patience: NonNegative) -> None:
        super().__init__(patience=patience)
        self.shown = tuple(shown)

    def begin(self, run_id: str, head: Row, home: Path, sent: int) -> int:
        self.home = home
        return sent

    def complete(self, row: Row, store: Store) -> None:
        told = [f"{key} {value:.4g}" for key, value in numbers(row).items() if key.startswith(self.shown)]
        with (self.home / "diary.md").open("a", encoding="utf-8") as file:
            file.write(f"- {name_of(row)} ({row['key']}): {', '.join(told)}\n")
