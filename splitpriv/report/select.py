"""Which finished runs a reader means: the rows of a store that `--where` keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitpriv import config
from splitpriv.report.terminal import judged
from splitpriv.store import Row, Store
from splitpriv.types import UserError


@dataclass(frozen=True)
class Selection:
    """Rows of `store` whose values, written as text, equal those of `wanted`; read anew by every call."""

    store: Store
    wanted: Mapping[str, str]

    def rows(self) -> list[Row]:
        """The rows, judged; raise UserError for a key that no row has."""
        known = list(dict.fromkeys(key for row in self.store.rows() for key in row))
        if known and (wrong := [key for key in self.wanted if key not in known]):
            raise UserError(*(f"--where {key}: no row has this key; {config.nearest(key, known)}" for key in wrong))
        return judged(self.store.rows(self.wanted), self.store)

    def some(self, command: str) -> list[Row]:
        """The rows; raise UserError where there are none, whether the store is empty or does not exist yet."""
        rows = self.rows()
        if not rows:
            raise UserError(f"{command}: no finished run matches; make some with `splitpriv run`, or loosen --where")
        return rows

    def tables(self) -> list[dict[str, Any]]:
        """The tables that `splitpriv table show` left in the store."""
        return [json.loads(path.read_text()) for path in sorted((self.store.root / "tables").glob("*.json"))]


def select(where: Sequence[str], overrides: Sequence[str]) -> Selection:
    """What the words after `--where` and the overrides of paths choose; raise UserError for a word that is none."""
    places = [word for word in where if word.startswith("paths.")]  # argparse cannot tell them from filters
    store = Store(config.compose([*overrides, *places])["paths"]["outputs"])
    return Selection(store, _filters([word for word in where if word not in places]))


def _filters(where: Sequence[str]) -> dict[str, str]:
    wrong = [f"--where {w}: is not key=value; write for example --where dataset=cifar10" for w in where if "=" not in w]
    if wrong:
        raise UserError(*wrong)
    keys = [w.split("=", 1)[0] for w in where]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(*(f"--where {key}: is given twice; keep one" for key in twice))
    return dict(w.split("=", 1) for w in where)
