"""Tables of labelled files: CSV with a header row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from splitpriv.types import UserError


def read(path: Path, needs: Sequence[str], key: str, remedy: str) -> dict[str, list[str]]:
    """Columns of a CSV by name; UserError naming config key `key` if it is missing, or lacks a column or a value."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise UserError(f"{key}: {path} is missing; {remedy}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{key}: {path} is not a readable CSV ({error}); {remedy}") from error
    rows = [row for row in rows if row]
    head = [name.strip() for name in rows[0]] if rows else []
    lacking = [name for name in needs if name not in head]
    if lacking:
        raise UserError(f"{key}: {path} lacks the columns {', '.join(lacking)} in its first line; {remedy}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(head):
            raise UserError(f"{key}: {path}, row {number} has {len(row)} of {len(head)} values; {remedy}")
    return {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(head)}


def encode(values: Sequence[str], names: Sequence[str], where: str, remedy: str) -> Tensor:
    """The index of each value among `names`, (N,) int64; UserError for a value that is not one of them."""
    index = {name: i for i, name in enumerate(names)}
    unknown = sorted(set(values) - set(index))
    if unknown:
        raise UserError(f"{where} holds {', '.join(map(repr, unknown[:5]))}, not one of {', '.join(names)}; {remedy}")
    return torch.tensor([index[value] for value in values], dtype=torch.int64)
