"""A listing from a table: one row for each image."""

from __future__ import annotations

from pathlib import Path

from splitpriv.data import tables
from splitpriv.data.labels import missing
from splitpriv.data.layouts import pool_words
from splitpriv.data.reading import Reading, shown, some
from splitpriv.data.source import Listing, Source
from splitpriv.types import UserError

OWN = ("file", "label", "identity", "camera", "split", "gallery")  # columns that mean something here


def listing(source: Source, reading: Reading) -> Listing:
    """The files and columns of a table; UserError that names the rows that are wrong."""
    path = source.path
    remedy = "give a CSV with the columns file, label and, if you like, attributes"
    table = tables.read(path, ("file", "label|identity"), "dataset.path", remedy)
    if len(table.lines) > source.max_entries:
        raise UserError(
            f"dataset.max_entries: {shown(path)} has more than {source.max_entries:,} rows; raise it, or give fewer"
        )
    own = {name.casefold(): name for name in OWN}
    columns = {own.get(name.casefold(), name): column for name, column in table.columns.items()}
    reading.layout = f"table of {len(table.lines):,} rows with the columns {some(list(columns))} ({table.said})"
    if table.nameless:
        reading.note(f"{table.nameless} columns without a name are left out")
    if source.identities and "identity" not in columns:
        columns["identity"] = columns.pop("label")
    who = source.who if source.who in columns else "identity"
    lines = _complete(columns, table.lines, who, path, reading)
    if "split" in columns:
        columns["split"] = source.pools(columns["split"], lines)
    else:
        _no_other_split(columns, path)
    files = [path.parent / name for name in columns.pop("file")]
    foreign = [i for i, file in enumerate(files) if "\\" in str(file) and not _there(file)]
    for i in foreign:  # as Windows writes paths
        files[i] = Path(str(files[i]).replace("\\", "/"))
    if foreign:
        reading.note(f"backslashes in {len(foreign):,} paths are read as slashes")
    return Listing(files, columns)


def _there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # no such name can be
        return False


def _no_other_split(columns: dict[str, list[str]], path: Path) -> None:
    """UserError for a column that speaks of pools under another name."""
    for name, column in columns.items():
        said = [pool_words(value) for value in set(column)] if name not in OWN else []
        if len({pool for pool, _ in said}) > 1 and all(pool and not rest for pool, rest in said):
            raise UserError(
                f"dataset.path: {shown(path)}, column {shown(name)}, holds {some(sorted(set(column)), 5)}, which are "
                "names of pools; name it split, or take it out"
            )


def _complete(columns: dict[str, list[str]], lines: list[int], who: str, path: Path, reading: Reading) -> list[int]:
    """Leave out rows without a label and refuse rows without another value; returns the lines that are left."""
    kept = [not missing(value) for value in columns[who]]
    for line, there in zip(lines, kept, strict=True):
        if not there:
            reading.skip(f"rows without a value in the column {who}", f"row {line}")
    lines = [line for line, there in zip(lines, kept, strict=True) if there]
    for name, column in columns.items():
        columns[name] = [value for value, there in zip(column, kept, strict=True) if there]
        blank = [line for line, value in zip(lines, columns[name], strict=True)
                 if (missing(value) if name != "file" else not value)]  # fmt: skip
        if blank:
            remedy = "fill it" if name in OWN else "fill it, or take the column out"
            raise UserError(
                f"dataset.path: {shown(path)}, column {name}, has no value in row {some(blank, 5)}; {remedy}"
            )
    return lines
