"""Which finished runs a reader means: the rows of a store that `--where` keeps."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitpriv import config
from splitpriv.report.terminal import judged
from splitpriv.store import Row, Store, notes, say
from splitpriv.store.rows import as_number, equals
from splitpriv.types import UserError

ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
WORD = re.compile(r"([^=<>!]+)(>=|<=|!=|=|>|<)(.*)", re.DOTALL)
JUDGED = ("verdict", "flags")  # what is shown may be another than what a row says: these are asked for last


@dataclass(frozen=True)
class Filter:
    """What a row must say at `key`; a row without that key has null there."""

    key: str
    sign: str
    wanted: str

    def keeps(self, row: Row) -> bool:
        """Whether a row says it: equality by meaning (5e-2 is 0.05), order between numbers alone."""
        value = row.get(self.key)
        if self.sign in ("=", "!="):
            says = equals(value, self.wanted) or (self.key == "tags" and self.wanted in (value or ()))
            return says == (self.sign == "=")
        limit = as_number(self.wanted)
        if limit is None or not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return ORDERS[self.sign](value, limit)


@dataclass(frozen=True)
class Selection:
    """The rows of `store` that pass all `filters`, of `keys` where given; read anew by every call."""

    store: Store
    filters: Sequence[Filter] = ()
    keys: frozenset[str] | None = None  # and no others

    def rows(self) -> list[Row]:
        """The rows, judged; raise UserError for a key that no row has."""
        rows = [row for row in self.store.rows() if self.keys is None or row["key"] in self.keys]
        rows = notes.noted(rows, self.store)
        late = [f for f in self.filters if f.key in JUDGED or f.key.startswith("ceiling/")]
        rows = _kept(rows, [f for f in self.filters if f not in late])
        return _kept(judged(rows, self.store), late)

    def some(self, command: str) -> list[Row]:
        """The rows; raise UserError where there are none, whether the store is empty or does not exist yet."""
        rows = self.rows()
        if not rows:
            raise UserError(f"{command}: no finished run matches; make some with `splitpriv run`, or loosen --where")
        return rows

    def tables(self) -> list[dict[str, Any]]:
        """The tables that `splitpriv table show` left in the store; a line names what is none."""
        tables = []
        for path in sorted((self.store.root / "tables").glob("*.json")):
            try:
                table = json.loads(path.read_text(encoding="utf-8"))
                if not isinstance(table["name"], str) or not all(
                    isinstance(table[k], list) for k in ("columns", "rows")
                ):
                    raise TypeError("its name, columns or rows are none")
            except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
                say(f"left out {path}: is no table ({error})")
            else:
                tables.append(table)
        return tables


def _kept(rows: Sequence[Row], filters: Sequence[Filter]) -> list[Row]:
    """The rows that pass all filters; raise UserError for a key that none has."""
    known = list(dict.fromkeys(key for row in rows for key in row)) if filters else []
    if known and (wrong := [f.key for f in filters if f.key not in known]):
        raise UserError(*(f"--where {key}: no row has this key; {config.nearest(key, known)}" for key in wrong))
    return [row for row in rows if all(f.keeps(row) for f in filters)]


def select(where: Sequence[str], overrides: Sequence[str]) -> Selection:
    """What the words after `--where` and the overrides of paths choose; raise UserError for a word that is none."""
    places = [
        word for word in where if word.startswith(("paths.", "plugins="))
    ]  # argparse cannot tell them from filters
    store = Store(config.compose([*overrides, *places])["paths"]["outputs"])
    return Selection(store, filters([word for word in where if word not in places]))


def filters(where: Sequence[str]) -> list[Filter]:
    """The filters that some words write; raise UserError for a word that is none."""
    matches = {word: WORD.fullmatch(word) for word in where}
    told = [Filter(*match.groups()) for match in matches.values() if match]
    wrong = [
        f"--where {w}: is not key=value; write for example --where dataset=cifar10, or 'utility/accuracy>=0.7'"
        for w, match in matches.items() if not match
    ]  # fmt: skip
    wrong += [
        f"--where {f.key}{f.sign}{f.wanted}: {f.sign} compares numbers; write one after it"
        for f in told if f.sign in ORDERS and as_number(f.wanted) is None
    ]  # fmt: skip
    wrong += [f"--where {f.key}{f.sign}{f.wanted}: one = is enough, and >= is written so"
              for f in told if f.sign in ("=", "!=") and f.wanted.startswith(("=", "<", ">"))]  # fmt: skip
    keys = [w.split("=", 1)[0] for w in where if (m := matches[w]) and m[2] == "="]
    wrong += [f"--where {key}: is given twice; keep one" for key in sorted({k for k in keys if keys.count(k) > 1})]
    if wrong:
        raise UserError(*wrong)
    return told
