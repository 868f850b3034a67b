"""Every cell of a table as a run: its overrides, its key, and how far it has come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import yaml

from splitpriv import config
from splitpriv.config import CONF
from splitpriv.options import called, file
from splitpriv.store import Row, Store, read_json
from splitpriv.tables.spec import Line, Play, Scale, Size, Table
from splitpriv.types import UserError

if TYPE_CHECKING:  # neither imports torch, so that a table opens quickly
    from splitpriv.run.plan import Stage
    from splitpriv.run.prepare import Prepared

State = Literal["cached", "partial", "missing", "failed", "unsupported", "refused"]
OPEN: tuple[State, ...] = ("partial", "missing", "failed")
FAILED = "table/failed"  # in the store: what went wrong, by row key


@dataclass
class Cell:
    """One run that a table wants. `problems`: why it cannot run, or what its last try ended in."""

    row: str
    play: str
    seed: int
    attack_seed: int
    overrides: list[str]
    state: State = "missing"
    key: str = ""
    problems: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)  # those that are not in the store
    prepared: Prepared | None = None
    where: dict[str, str] = field(default_factory=dict)  # entries of a study's row, which is looked up instead


@dataclass(frozen=True)
class Extra:
    """What the command line adds: overrides of every cell, the seeds if it names any, and those for Hydra itself."""

    overrides: tuple[str, ...] = ()
    hydra: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    attack_seeds: tuple[int, ...] = ()

    @classmethod
    def of(cls, words: Sequence[str]) -> Extra:
        """Sort the overrides of a command; raise UserError for seeds that are not whole numbers."""
        plain, hydra, seeds = [], [], {}
        for word in words:
            key, _, value = word.partition("=")
            if key in ("seed", "attack_seed"):
                if not all(part.strip().isdecimal() for part in value.split(",")):
                    raise UserError(f"{key}: {value!r} is not a list of whole numbers; write {key}=0,1,2")
                seeds[key] = tuple(int(part) for part in value.split(","))
            elif key.lstrip("+").startswith(("hydra/", "hydra.")):
                hydra.append(word)
            else:
                plain.append(word)
        return cls(tuple(plain), tuple(hydra), seeds.get("seed", ()), seeds.get("attack_seed", ()))

    def require_sense(self, cells: Sequence[Cell]) -> None:
        """Raise UserError for overrides that no cell accepts: the mistake is the command's, not a row's."""
        keys = {word.partition("=")[0].lstrip("+~") for word in self.overrides}
        tried = [cell for cell in cells if cell.state != "unsupported"]
        wrong = [[p for p in cell.problems if p.partition(":")[0] in keys] for cell in tried]
        if tried and all(wrong):
            raise UserError(*dict.fromkeys(p for problems in wrong for p in problems))


def expand(table: Table, scale: Scale, extra: Extra, rows: Sequence[str] = ()) -> list[Cell]:
    """The cells of a table at a scale, without their states; `rows` are patterns of names. Raise UserError for one that
    matches no row, or none of that scale.
    """
    size = table.sized(scale)
    unknown = [pattern for pattern in rows if not any(fnmatchcase(name, pattern) for name in table.rows)]
    if unknown:
        raise UserError(*(f"--rows {p}: no row is called so; {config.nearest(p, list(table.rows))}" for p in unknown))
    wanted = [p for p in (size.rows, rows) if p]
    out = []
    for name, line in table.rows.items():
        if not all(any(fnmatchcase(name, pattern) for pattern in patterns) for patterns in wanted):
            continue
        for play, played in table.plays.items():
            if any(only is not None and play not in only for only in (size.plays, line.plays)):
                continue
            overrides, problems = _overrides(line, played, size, size.of(name, play), extra.overrides)
            for seed in extra.seeds or size.seeds:
                for attack_seed in extra.attack_seeds or size.attack_seeds:
                    seeds = [f"seed={seed}", f"attack_seed={attack_seed}"]
                    state: State = "unsupported" if problems else "missing"
                    cell = Cell(name, play, seed, attack_seed, [*overrides, *seeds], state, "", list(problems))
                    if line.study:
                        entries = {**line.study, "seed": seed, "attack_seed": attack_seed}
                        cell.where = {k: v if isinstance(v, str) else json.dumps(v) for k, v in entries.items()}
                    out.append(cell)
    there = list(dict.fromkeys(cell.row for cell in out))
    if absent := [p for p in rows if not any(fnmatchcase(name, p) for name in there)]:
        part = ", ".join(name for name in table.rows if not size.rows or any(fnmatchcase(name, p) for p in size.rows))
        raise UserError(*(f"--rows {p}: is not part of scale {scale}; there are {part}" for p in absent))
    return out


def inspect(cells: Sequence[Cell], store: Store) -> None:
    """Fill in key and state of every cell. Seeds change no other value, so a row is composed once for all of them."""
    from splitpriv.run.plan import preview

    known: dict[tuple[str, ...], Prepared | list[str]] = {}
    for cell in cells:
        if cell.where and (studied := store.rows(cell.where)):
            cell.state, cell.key, cell.problems = "cached", studied[-1]["key"], []
        if cell.state == "unsupported" or cell.where:
            continue
        words = tuple(cell.overrides[:-2])
        if words not in known:
            known[words] = _prepared(words)
        outcome = known[words]
        if isinstance(outcome, list):
            cell.state, cell.problems = "refused", outcome
            continue
        cell.prepared = outcome.reseeded(cell.seed, cell.attack_seed)
        cell.key = cell.prepared.plan.row
        stages, row = preview(cell.prepared, store)
        cell.stages = [stage for stage, state in stages if state != "cached"]
        states = {state for _, state in stages}
        note = store.root / FAILED / f"{cell.key}.json"
        if row == "cached":
            cell.state = "cached"
        elif "failed" in states or note.exists():
            cell.state = "failed"
            cell.problems = list(_traceback(store, cell, note))
        else:
            cell.state = "partial" if states & {"cached", "partial"} else "missing"


def _prepared(words: Sequence[str]) -> Prepared | list[str]:
    from splitpriv.run.prepare import from_overrides

    try:
        return from_overrides(words)
    except UserError as error:
        return error.problems


def _traceback(store: Store, cell: Cell, note: Any) -> Iterator[str]:
    for stage in cell.stages:
        if store.state(stage.kind, stage.key) == "failed":
            yield (store.home(stage.kind, stage.key) / "failed").read_text(encoding="utf-8").strip()
            return
    yield from read_json(note, ["what it ended in was lost"])


def rows_of(cells: Sequence[Cell], store: Store) -> dict[tuple[str, str], dict[tuple[int, int], Row]]:
    """(row, play) -> (seed, attack seed) -> the finished row, with what its undefended twin gives if that is there."""
    from splitpriv.report.terminal import with_ceilings

    out: dict[tuple[str, str], dict[tuple[int, int], Row]] = {}
    for cell in cells:
        if cell.state == "cached" and (row := store.row(cell.key)):
            out.setdefault((cell.row, cell.play), {})[cell.seed, cell.attack_seed] = with_ceilings([row], store)[0]
    return out


# ---- overrides -----------------------------------------------------------------------------------------------------


def _overrides(
    line: Line, play: Play, size: Size, sized: Sequence[str], extra: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The overrides of a cell, the later of two with one key only, and what it names that is not in this repository.

    Settings below `attack.X` and `defense.X` that a scale gives are for the rows that list X.
    """
    if line.absent:
        return [], [line.absent]
    if line.study:
        return [], [f"a study, not a run: make its rows with splitpriv {line.study['study']}"]
    own = [*play.overrides, *line.overrides]
    attacks = [name for name in play.attacks if exists("attack", name)]
    if play.attacks:
        own = [f"attack=[{','.join(attacks)}]", *own]
    later = [*size.overrides, *sized, *extra]
    replaced = _chosen(own) & _chosen(later)  # what a row says inside an option goes with the option
    own = [word for word in own if word.partition(".")[0] not in replaced]
    words = _last([*size.base, *own, *later])
    missing = [f"{need} is not in this repository yet" for need in line.needs if not exists(*need.split("/"))]
    if play.attacks and not attacks:
        missing.append(f"attack {', '.join(play.attacks)} is not in this repository yet")
    listed = {group: set(_default(group)) for group in ("attack", "defense")}
    for word in words:
        group, _, value = word.lstrip("+").partition("=")
        options = [o.strip() for o in value.strip("[]").split(",") if o.strip()]
        if (CONF / group.split("@")[0]).is_dir() and value not in ("", "null"):
            group = group.split("@")[0]
            missing += [f"{group} {o} is not in this repository yet" for o in options if not exists(group, o)]
            if group in listed:
                listed[group] = {n for o in options if exists(group, o) for n in called(CONF, group, o)}
    given = {*size.base, *size.overrides, *sized}
    return [w for w in words if w not in given or _applies(w, listed)], list(dict.fromkeys(missing))


def _last(words: Sequence[str]) -> list[str]:
    kept: dict[str, str] = {}
    for word in words:
        key = word.partition("=")[0]
        kept.pop(key, None)  # the later one takes its own place
        kept[key] = word
    return list(kept.values())


def _chosen(words: Sequence[str]) -> set[str]:
    """The groups of one option that these words choose."""
    keys = {word.partition("=")[0] for word in words}
    return {key for key in keys if (CONF / key).is_dir() and key not in config.LISTS}


def _applies(word: str, listed: dict[str, set[str]]) -> bool:
    group, *rest = word.lstrip("+~").partition("=")[0].split("@")[-1].split(".")
    return not rest or group not in listed or rest[0] in listed[group]


def exists(group: str, option: str) -> bool:
    """Whether conf/, or that of a plug-in, has that option."""
    return file(CONF, group, option) is not None


@cache
def _default(group: str) -> tuple[str, ...]:
    """The options of a group that a run lists unless it is told otherwise."""
    defaults = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return tuple(next(entry[group] for entry in defaults if isinstance(entry, dict) and group in entry))
