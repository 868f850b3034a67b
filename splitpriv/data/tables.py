"""Tables of labelled files: text with a header row, as spreadsheets and scripts write it."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from splitpriv.data.reading import shown, some
from splitpriv.types import UserError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_MARKS = {  # the longer ones first: that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


@dataclass
class Table:
    """`columns` by name, as they are written but for outer blanks; `lines` says where in the file each row ends."""

    columns: dict[str, list[str]]
    lines: list[int]
    said: str  # encoding and delimiter
    nameless: int = 0  # columns left out that hold something and have no name


def read(path: Path, needs: Sequence[str], key: str, remedy: str) -> Table:
    """The table in a file; UserError naming config key `key` if it is missing, damaged, or lacks a column or a value.

    Of alternatives, as in "label|identity", one will do. Reads UTF-8, and UTF-16 and UTF-32 with a byte order mark;
    commas, semicolons, tabs or bars, whichever shows the columns of `needs`, whose names match in any case. Columns
    without a name are left out.
    """

    def wrong(what: str, todo: str = remedy) -> UserError:
        return UserError(f"{key}: {shown(path)} {what}; {todo}")

    if path.exists() and not path.is_file():
        raise wrong("is no regular file")
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise wrong("is missing") from error
    except (OSError, ValueError) as error:
        raise wrong(f"cannot be read ({error})") from error
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise wrong(f"is not a readable CSV: no {encoding} at byte {error.start:,}", "save it as UTF-8") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise wrong(f"is not a readable CSV: a NUL character in line {line}", "save it as UTF-8 text")
    declared = text[:6].lower().removeprefix("sep=")[:1] if text[:4].lower() == "sep=" else ""
    text = text.partition("\n")[2] if declared else text
    delimiter = declared or _delimiter(text, needs)
    reader, rows = (
        csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True),
        [],
    )
    try:
        rows = [(reader.line_num + bool(declared), row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise wrong(f"is not a readable CSV: {error} in line {reader.line_num + bool(declared)}") from error
    head = _head(rows[0][1] if rows else [], needs)
    if twice := sorted(name for name, n in Counter(map(str.casefold, head)).items() if n > 1 and name):
        raise wrong(f"has the column {some(twice)} twice", "keep one of them, or rename the other")
    if lacking := [name.replace("|", " or ") for name in needs if not set(name.split("|")) & set(head)]:
        has = f"which reads {some([repr(name) for name in head], 10)}" if head else "which is empty"
        raise wrong(f"lacks the columns {', '.join(lacking)} in its first line, {has}")
    if uneven := [f"row {line} has {len(row)}" for line, row in rows[1:] if len(row) != len(head)]:
        raise wrong(f"{some(uneven, 5)} of {len(head)} values")
    columns = {name: [row[i].strip() for _, row in rows[1:]] for i, name in enumerate(head) if name}
    said = f"{encoding.removesuffix('-sig').upper()}, {DELIMITERS.get(delimiter, delimiter)} between values"
    nameless = sum(not name and any(row[i].strip() for _, row in rows[1:]) for i, name in enumerate(head))
    return Table(columns, [line for line, _ in rows[1:]], said, nameless)


def _delimiter(text: str, needs: Sequence[str]) -> str:
    """The delimiter that shows most of what is needed in the first line, then most columns."""
    first = next((line for line in text.splitlines() if line.strip()), "")

    def score(delimiter: str) -> tuple[int, int]:
        try:
            head = _head(next(csv.reader([first], delimiter=delimiter)), needs)
        except csv.Error:
            return 0, 0
        return sum(bool(set(name.split("|")) & set(head)) for name in needs), len(head)

    return max(DELIMITERS, key=score)


def _head(row: Sequence[str], needs: Sequence[str]) -> list[str]:
    """Column names; those that are needed as we spell them."""
    ours = {name.casefold(): name for need in needs for name in need.split("|")}
    return [ours.get(name.strip().casefold(), name.strip()) for name in row]


def encode(values: Sequence[str], names: Sequence[str], where: str, remedy: str) -> Tensor:
    """The index of each value among `names`, (N,) int64; UserError for a value that is not one of them."""
    index = {name: i for i, name in enumerate(names)}
    unknown = sorted(set(values) - set(index))
    if unknown:
        raise UserError(f"{where} holds {', '.join(map(repr, unknown[:5]))}, not one of {', '.join(names)}; {remedy}")
    return torch.tensor([index[value] for value in values], dtype=torch.int64)
