"""Labels as what they mean: the same number, the same words, or nothing at all."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Sequence
from typing import Literal

from splitpriv.data.reading import Reading, some
from splitpriv.types import UserError

LetterCase = Literal["refuse", "ignore", "keep"]
MISSING = {"", "nan", "<na>", "#n/a", "n/a", "null"}
TRUTH = {"true": "1", "yes": "1", "false": "0", "no": "0"}
_UNSEEN = str.maketrans("", "", "\u200b\u2060\ufeff\u00ad")  # characters without a width
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")


def tidy(value: str) -> str:
    """A value without outer blanks, with single ones inside, its letters composed (Unicode NFC)."""
    return " ".join(unicodedata.normalize("NFC", value.translate(_UNSEEN)).split())


def missing(value: str) -> bool:
    """Does this say that there is no value?"""
    return tidy(value).casefold() in MISSING


def alike(values: Sequence[str], letter_case: LetterCase, name: str, reading: Reading) -> list[str]:
    """`values` with one spelling for each meaning, the shortest; what was taken as one is noted in `reading`.

    Equal numbers are one: 1, 1.0 and 01; and true, yes and 1, false, no and 0, in any case, where there is nothing
    else. Blanks and characters without a width do not count. Others that differ by case alone are one where
    `letter_case` is ignore, two where it is keep, and a UserError where it is refuse.
    """
    tidied = [tidy(value) for value in values]
    kinds = sorted(set(tidied), key=lambda value: (len(value), value))
    meaning = {value: _number(value) if _NUMBER.fullmatch(value) else value for value in kinds}
    truth = {value: TRUTH.get(value.casefold(), meaning[value]) for value in kinds}
    if set(truth.values()) <= {"0", "1"}:
        meaning = truth
    elif letter_case == "ignore":
        meaning = {value: said.casefold() for value, said in meaning.items()}
    else:
        folded: dict[str, list[str]] = {}
        for value in kinds:
            folded.setdefault(value.casefold(), []).append(value)
        twins = [" and ".join(same) for same in folded.values() if len(same) > 1]
        if twins and letter_case == "refuse":
            raise UserError(
                f"dataset.letter_case: {name} {some(twins)} differ by case alone; set it to ignore if they mean the "
                "same, to keep if they do not"
            )
    spelling: dict[str, str] = {}
    for value in kinds:
        first = spelling.setdefault(meaning[value], value)
        if first != value:
            reading.note(f"{name} {first} and {value} are one")
    return [spelling[meaning[value]] for value in tidied]


def _number(value: str) -> str:
    """A decimal number of any length without what does not change it."""
    whole, _, fraction = value.lstrip("+-").partition(".")
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    sign = "-" if value.startswith("-") and (whole or fraction) else ""
    return f"{sign}{whole or 0}{f'.{fraction}' if fraction else ''}"


def torn(things: Sequence[Hashable], labels: Sequence[str]) -> list[list[int]]:
    """For each thing that is there under several labels, where it is."""
    places: dict[Hashable, list[int]] = {}
    for i, thing in enumerate(things):
        places.setdefault(thing, []).append(i)
    return [found for found in places.values() if len({labels[i] for i in found}) > 1]
