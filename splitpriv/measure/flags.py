"""What a flag is: a record of a doubt, with what it means and what would clear it. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from splitpriv.measure.kinds import KINDS, OLD
from splitpriv.measure.otherwise import OTHERWISE
from splitpriv.store import Row


@dataclass(frozen=True)
class Flag:
    """One doubt about a run: its kind, whom it concerns, its line, and the override that clears it, if one does."""

    kind: str
    subject: str
    text: str
    remedy: str = ""

    @property
    def means(self) -> str:
        """What a reader should think."""
        return KINDS[self.kind].means if self.kind in KINDS else KINDS[OLD].means

    @property
    def way(self) -> str:
        """What clears it: the override, or in words that none does, and what would."""
        words = OTHERWISE.get(self.kind, OTHERWISE[OLD])
        return f"to clear this: {self.remedy}" if self.remedy else f"no override clears this: {words}"

    @property
    def voids(self) -> bool:
        """Whether a row with it says nothing at all."""
        return self.kind in KINDS and KINDS[self.kind].voids

    def record(self) -> dict[str, str]:
        """As a row stores it."""
        return dict(vars(self))


def raised(kind: str, subject: str = "", **words: Any) -> Flag:
    """A flag of a kind, in the words of the check that raises it."""
    known = KINDS[kind]
    told = {"subject": subject, "longer": "", "attacks": "", "more": "", "remedy": "", **words}
    return Flag(kind, subject, known.says.format(**told), known.remedy.format(**told))


def flags_of(row: Row) -> list[Flag]:
    """The flags of a row, most serious first; those of rows of before are lines, of which nothing more is known."""
    return [Flag(**flag) if isinstance(flag, Mapping) else Flag(OLD, "", str(flag)) for flag in row.get("flags", [])]
