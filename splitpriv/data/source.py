"""What a folder or a table says of each of its images, before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitpriv.data.layouts import Layout, beside_queries, pool_words
from splitpriv.data.reading import shown, some
from splitpriv.types import UserError


@dataclass
class Listing:
    """Files and what is said of each: columns label, identity, camera, split, gallery, and any attribute."""

    files: list[Path]
    columns: dict[str, list[str]]


@dataclass(frozen=True)
class Source:
    """Where a listing comes from, and what its folders and names mean; see `images.Images`."""

    path: Path
    layout: Layout
    pattern: str | None
    identities: bool
    max_entries: int

    @property
    def who(self) -> str:
        """The column that says what an image shows."""
        return "identity" if self.identities else "label"

    def pools(self, values: Sequence[str], lines: Sequence[int]) -> list[str]:
        """The pools that a column split names; UserError for values that name none."""
        pools = {value: pool_words(value, self.identities) for value in set(values)}
        wrong = [
            f"{value!r} (row {line})"
            for value, line in zip(values, lines, strict=True)
            if not pools[value][0] or pools[value][1]
        ]
        if wrong:
            raise UserError(
                f"dataset.path: {shown(self.path)}, column split, holds {some(wrong, 5)}; write train, val or test"
            )
        said = beside_queries({value: pool for value, (pool, _) in pools.items() if pool})
        return [str(said[value]) for value in values]
