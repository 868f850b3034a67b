"""What leaves the tool is plain: text that no terminal acts on, cells that are no formula, numbers that JSON knows.

Imports nothing of ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

NOT_FINITE = "not_finite"  # beside the entries of a mapping: which of them are null because JSON has no such number
WORDS = ("nan", "inf", "-inf")
AS_IS = {int, bool, type(None)}  # with texts and finite floats by far the most of a record's values
SIMPLE = {str, *AS_IS}
# Control characters, what turns the direction of writing, line and paragraph separators, halves of a character.
ACTIVE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
FORMULA = re.compile(r"[=+\-@\t\r]")  # how a cell begins that a spreadsheet computes
PLACE = r"[^\s/\\\"'`<>|:;,=()\[\]{}]+"
ABSOLUTE = re.compile(rf"(https?://\S*)|(?<![\w.<>/\\~…-])(?:~\w*|[A-Za-z]:)?[/\\]+(?:{PLACE}[/\\]+)*({PLACE})")


def inert(text: str) -> str:
    """The same text with every character that a terminal would act on spelt out; new lines and tabs stay."""
    return ACTIVE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def line(text: str) -> str:
    """The same in one line."""
    return inert(text).replace("\n", "\\n").replace("\t", "\\t")


def cell(value: Any) -> Any:
    """A value for a CSV: text that a spreadsheet would run begins with an apostrophe, as numbers in text do not."""
    if not isinstance(value, str):
        return value
    text = inert(value)
    return f"'{text}" if FORMULA.match(text) else text


def placeless(text: str) -> str:
    """The same text with the last part alone of every absolute path; addresses of the web stay."""
    if "/" not in text and "\\" not in text:
        return text
    if re.match(r"(?:~|[A-Za-z]:)?[/\\]", text) and "\n" not in text:  # all of it is a path, with spaces perhaps
        return "…/" + re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    return ABSOLUTE.sub(lambda match: match[1] or f"…/{match[2]}", text)


# ---- numbers -------------------------------------------------------------------------------------------------------


def finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record for strict JSON: null for every number that is not finite, and `not_finite` with their words.

    `not_finite` has the shape of the record and holds those numbers alone: {"auc": "nan", "curve": {"3": "inf"}}.
    """
    kept, odd = _split(record)
    return {**kept, NOT_FINITE: odd} if odd else kept


def restored(record: Mapping[str, Any]) -> dict[str, Any]:
    """What `finite` was given. Raise ValueError where `not_finite` names what is not there."""
    odd = record.get(NOT_FINITE, {})
    kept = {key: value for key, value in record.items() if key != NOT_FINITE}
    return dict(_join(kept, odd)) if odd else kept


def dumps(record: Mapping[str, Any], **form: Any) -> str:
    """Strict JSON of a record."""
    return json.dumps(finite(record), allow_nan=False, **form)


def strict(value: Any) -> Any:
    """Data for a page: null for numbers that are not finite, plain numbers for numpy's, no absolute path."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind in AS_IS:
        return value
    if isinstance(value, str):
        return placeless(value)
    if isinstance(value, dict):
        out = {}
        for k, v in value.items():
            kind = type(v)
            plain = kind in AS_IS or (kind is float and v - v == 0) or (kind is str and "/" not in v and "\\" not in v)
            out[str(k)] = v if plain else strict(v)
        return out
    if isinstance(value, list | tuple):
        return [v if type(v) in AS_IS or (type(v) is float and v - v == 0) else strict(v) for v in value]
    return strict(value.item()) if hasattr(value, "item") else value


def _split(value: Any) -> tuple[Any, Any]:
    if isinstance(value, float):
        return (value, None) if math.isfinite(value) else (None, _word(value))
    if isinstance(value, Mapping):
        return _parts({str(k): v for k, v in value.items()})
    if isinstance(value, list | tuple):
        kept, odd = _parts(dict(enumerate(value)))
        return list(kept.values()), {str(i): word for i, word in odd.items()}
    return value, None


def _parts(entries: dict[Any, Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    odd = {}
    for key, value in entries.items():
        if type(value) not in SIMPLE and not (type(value) is float and math.isfinite(value)):
            entries[key], word = _split(value)
            if word:
                odd[key] = word
    return entries, odd


def _word(value: float) -> str:
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _join(kept: Any, odd: Any) -> Any:
    if isinstance(odd, str) and odd in WORDS and kept is None:
        return float(odd)
    if not isinstance(odd, Mapping) or not isinstance(kept, dict | list):
        raise ValueError(f"{NOT_FINITE} names what is not there")
    out: Any = kept.copy()
    for at, inner in odd.items():
        place = int(at) if isinstance(kept, list) else at
        try:
            out[place] = _join(kept[place], inner)
        except LookupError:
            raise ValueError(f"{NOT_FINITE} names what is not there") from None
    return out
