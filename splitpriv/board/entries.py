"""What others sent in: JSON files under `board/`, by a schema. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from splitpriv import plain
from splitpriv.board import kept
from splitpriv.board.lines import queries_of
from splitpriv.report import worlds
from splitpriv.store import Row
from splitpriv.types import UserError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[
    str, Field(pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$", max_length=300)
]  # of one line, not blank
Web = Annotated[str, Field(pattern=r"^(https://|hf://|docs/[a-z])[A-Za-z0-9_.~:/?#@!$&'()*+,;=%-]+$", max_length=300)]
Error = Annotated[float, Field(ge=0, le=1)]
SCHEMA, ENTRY, ROWS = "schema.json", "entry.json", "rows.jsonl"
WEIGHTS = 1_000_000  # bytes of a model, or of an attack's reconstructions, that are committed
SENT = (".safetensors", ".npz")  # what an attack's reconstructions may be kept as, beside its entry


class Strict(BaseModel):
    """No key that is not declared, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Attack(Strict):
    """Reconstructions of the frozen victims of a row, scored by us; `fit` and `frozen` say which rows they are of."""

    kind: Literal["attack"]
    name: Name
    by: Text
    source: Web
    row: Key
    fit: Annotated[list[Key], Field(min_length=1)]
    frozen: Digest  # of the settings that choose the victims
    victims: Digest  # of the victims' pixels
    file: Digest  # of the submitted file
    queries: Annotated[int, Field(ge=1)]
    count: Annotated[int, Field(ge=1, le=10**9)]
    mse: Error
    ssim: Annotated[float, Field(ge=-1, le=1)]


class Quick(Strict):
    """What an attack of seconds reaches on so many victims."""

    attack: Name
    victims: Annotated[int, Field(ge=1)]
    mse: Error


class Model(Strict):
    """A model that was evaluated again by us; `row` is that of the suite's attack on it."""

    kind: Literal["model"]
    name: Name
    by: Text
    source: Web
    row: Key
    chain: Text
    link: Web
    bytes: Annotated[int, Field(ge=1)]
    quick: Quick


Entry = Annotated[Attack | Model, Field(discriminator="kind")]
ADAPTER: TypeAdapter[Attack | Model] = TypeAdapter(Entry)


def schema() -> dict[str, Any]:
    """The JSON schema of an entry."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "An entry of the board",
            **ADAPTER.json_schema()}  # fmt: skip


def checked(told: Any, where: str) -> Attack | Model:
    """An entry as its class; raise UserError with every problem of it."""
    try:
        return ADAPTER.validate_python(told)
    except ValidationError as error:
        told = [(".".join(map(str, e["loc"])), e["msg"][0].lower() + e["msg"][1:]) for e in error.errors()]
        raise UserError(*(f"board {where}: {place}{': ' * bool(place)}{what}" for place, what in told)) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        raise ValueError("a key stands twice in it")
    return told


def frozen(row: Row) -> str:
    """A digest of what chooses a row's victims: data, protocol and the adversary's knowledge, as far as it matters.

    A setting that came later, at the value that means what was before, changes nothing.
    """
    groups = ("dataset.", "protocol.slices", "protocol.shuffle", "protocol.seed", "protocol.overlap",
              "protocol.duplicates", "protocol.limit.", "protocol.attacked", "knowledge.")  # fmt: skip
    later = worlds.later(row)
    told = {k: v for k, v in row.items() if k.startswith(groups) and k != "protocol.limit.aux" and "/" not in k
            and v is not None and later.get(k, ...) != v}  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


@dataclass
class Entries:
    """All entries of a folder, by name."""

    folder: Path | None = None
    attacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)

    def reached(self, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
        """Key of a row -> name of an attack that was sent in for its victims -> the MSE that it reached there."""
        found: dict[str, dict[str, float]] = {}
        for entry in self.attacks.values():
            for row in rows:
                same = (list(row.get("fit") or []), frozen(row), queries_of(row))
                if same == (entry["fit"], entry["frozen"], entry["queries"]):
                    found.setdefault(row["key"], {})[entry["name"]] = entry["mse"]
        return found

    def rows(self) -> list[Row]:
        """The rows of our attacks on the models."""
        return kept.read(sorted(self.folder.glob(f"models/*/{ROWS}"))) if self.folder else []

    def weights(self, name: str) -> list[Path]:
        """The weights of a model that lie here."""
        return sorted((self.folder / "models" / name).glob("*.safetensors")) if self.folder else []


def sent(folder: Path, name: str) -> Path | None:
    """The reconstructions of an attack, where they are kept beside its entry."""
    places = ((folder / "attacks" / name).with_suffix(ending) for ending in SENT)
    return next((path for path in places if path.is_file()), None)


def read(folder: Path) -> Entries:
    """The entries under `folder`, attacks/NAME.json and models/NAME/entry.json; UserError for all that is none."""
    found, problems = Entries(folder), list[str]()
    places = [*sorted((folder / "attacks").glob("*.json")), *sorted((folder / "models").glob(f"*/{ENTRY}"))]
    for path in places:
        try:
            entry = _entry(path, str(path.relative_to(folder)))
        except UserError as error:
            problems += error.problems
            continue
        (found.attacks if isinstance(entry, Attack) else found.models)[entry.name] = entry.model_dump()
    if problems:
        raise UserError(*problems)
    return found


def _entry(path: Path, where: str) -> Attack | Model:
    try:
        told = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"board {where}: is no JSON ({plain.line(str(error))[:120]})") from error
    entry = checked(told, where)
    named = path.stem if isinstance(entry, Attack) else path.parent.name
    if entry.name != named:
        raise UserError(f"board {where}: its name is {entry.name}, and its place says {named}; rename one")
    return entry
