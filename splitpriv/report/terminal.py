"""Rows for people: tables on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from splitpriv import plain
from splitpriv.heap import growing
from splitpriv.measure.checks import above_ceiling
from splitpriv.measure.flags import flags_of, raised
from splitpriv.measure.verdict import whole
from splitpriv.metrics import PRIVACY
from splitpriv.store import Row, Store, notes

if TYPE_CHECKING:
    from splitpriv.run.plan import Stage
    from splitpriv.store import State

VERDICTS = {"sound": "green", "doubtful": "yellow", "void": "bold red"}
COLOURS = {"cached": "green", "partial": "yellow", "failed": "red", "missing": "dim"}


def console(width: int | None = None) -> Console:
    """Wide enough for a table when the output is a file or a pipe, unless a width is given."""
    return _Console(width=width or (None if sys.stdout.isatty() else 140), highlight=False)


class _Console(Console):
    def render_str(self, text: str, **form: Any) -> Text:
        """Text as it stands, with what a terminal would act on spelt out; `escape` keeps names from being markup."""
        return super().render_str(plain.inert(text), **form)

    def on_broken_pipe(self) -> None:
        """Leave to the caller what a reader that has left means; rich would exit."""
        raise


def with_ceilings(rows: Sequence[Row], store: Store) -> list[Row]:
    """Rows with `ceiling/<attack>/<metric>` added where the undefended twin of a run is in the store."""
    known_rows: dict[str, Row | None] = {row["key"]: row for row in rows}
    out = []
    for row in rows:
        other = row.get("ceiling")
        if other and other not in known_rows:
            known_rows[other] = store.row(other)
        twin = known_rows[other] if other and other != row["key"] else None
        ceilings = {f"ceiling/{k[8:]}": v for k, v in twin.items() if k.startswith("privacy/")} if twin else {}
        flags = flags_of(row)
        known = {(flag.kind, flag.subject) for flag in flags}
        for name in attacks_of(row):
            above = above_ceiling(name, {**row, **ceilings}, settings_of(row, name), row.get("victims") or 1)
            flags += [flag for flag in above if (flag.kind, flag.subject) not in known]
        for place in ("runtime.device", "runtime.threads"):
            ours, theirs = row.get(place), (twin or {}).get(place)
            if ours and theirs and ours != theirs:
                flags.append(raised("elsewhere", place, ours=ours, theirs=theirs))
        out.append({**row, **ceilings, "flags": [flag.record() for flag in flags]})
    return out


@growing()
def judged(rows: Sequence[Row], store: Store) -> list[Row]:
    """Rows with ceilings, all their doubts and their verdict, also those of before that say none."""
    return [whole(row) for row in with_ceilings(rows, store)]


def print_row(row: Row, store: Store) -> None:
    """The short readable result of one run."""
    row = judged(notes.noted([row], store), store)[0]
    out = console()
    out.print(
        f"\n{_verdict(row)} [bold]{escape(row['chain'])}[/]  {escape(_context(row, 'dataset'))} · "
        f"{escape(_context(row, 'backbone'))} cut at {escape(_context(row, 'cut'))}{escape(often(row, ' · '))} · "
        f"seed {row['seed']} · {escape(headline(row))} "
        f"[bold]{_told(row, f'utility/{headline(row)}', '.2%')}[/]{_beside(row)}{_answer(row)} · "
        f"edge {_told(row, 'cost/edge_parameters', ',.0f')} parameters, "
        f"{_told(row, 'cost/release_bytes', ',.0f')} bytes released · key {escape(row['key'])}"
    )
    names = images_of(row)
    if names:
        out.print(images_table(row, names))
    for name in attacks_of(row):
        if name not in names:
            out.print(_inference(row, name))
    if bound := {k[6:]: v for k, v in row.items() if k.startswith("bound/") and v is not None}:
        out.print("[dim]bounds: " + escape(", ".join(f"{name} {value:.4g}" for name, value in bound.items())) + "[/]")
    if binds := {k[6:]: v for k, v in row.items() if k.startswith("binds/")}:
        out.print("binds: " + escape(", ".join(f"{name} on the {what}" for what, name in binds.items())))
    for flag in flags_of(row):
        colour = VERDICTS["void" if flag.voids else "doubtful"]
        out.print(f"[{colour}]! {escape(flag.text)}[/]{' (void)' if flag.voids else ''}", soft_wrap=True)
        out.print(f"[dim]  {escape(flag.way)}[/]", soft_wrap=True)
    if row.get("tags") or row.get("note"):
        out.print(escape(f"note: {' '.join([*(f'[{tag}]' for tag in row.get('tags', [])), row.get('note', '')])}"))
    for name in images_of(row):
        out.print(f"[dim]pictures: {escape(str(store.root / row[f'picture/{name}']))}[/]", soft_wrap=True)


def images_table(row: Row, names: Sequence[str]) -> Table:
    """What the attacks `names` rebuilt, between the floors and the undefended ceiling."""
    metrics = [m for m in PRIVACY if f"privacy/worst/{m}" in row]
    table = Table(box=None, pad_edge=False)
    table.add_column("reconstruction by")
    for metric in metrics:
        table.add_column(PRIVACY[metric].heading, justify="right")
    lines = [(f"{row['suite']}, its answer", "privacy/suite")] if row.get("suite") else []
    lines += [(name, f"privacy/{name}") for name in names]
    members = dict.fromkeys(key.split("/")[1] for key in row if key.startswith("suite/"))
    lines += [(f"  {name}", f"suite/{name}") for name in members]
    lines += [("worst case per image (an oracle)", "privacy/worst")] if len(names) > 1 or members else []
    lines += [(f"{name}, undefended", f"ceiling/{name}") for name in ["suite", *names, "worst"]
              if f"ceiling/{name}/mse" in row and (name != "worst" or len(names) > 1 or members)]  # fmt: skip
    lines += [("floor: mean image", "floor/mean_image"), ("floor: random image", "floor/random_image")]
    for label, prefix in lines:
        style = "dim" if label.startswith("floor") or label.endswith("undefended") else None
        table.add_row(escape(label), *(_cell(row, f"{prefix}/{m}", m) for m in metrics), style=style)
    return table


def _inference(row: Row, name: str) -> Table:
    """What an attack on an attribute or an identity found, beside the same attack on clean x and on no defence."""
    target = row.get(f"attack.{name}.attribute")
    table = Table(box=None, pad_edge=False)
    metrics = [k.split("/")[2] for k in row if k.startswith(f"privacy/{name}/")]
    for column in (f"{target} inferred by" if target else "identity found by", *metrics):
        table.add_column(escape(column.replace("_", " ")))
    for label, prefix in ((name, "privacy"), (f"{name}, undefended", "ceiling"), (f"{name} of clean x", "clean")):
        if f"{prefix}/{name}/{metrics[0]}" in row:
            table.add_row(escape(label), *(_cell(row, f"{prefix}/{name}/{m}", m) for m in metrics),
                          style=None if prefix == "privacy" else "dim")  # fmt: skip
    return table


def attacks_of(row: Row) -> list[str]:
    """The attacks of a row, in the order in which they were listed."""
    return list(_attacks(tuple(row)))


@lru_cache(maxsize=512)
def _attacks(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Those that the keys of a row name: thousands of rows have the same keys."""
    names = dict.fromkeys(key.split("/")[1] for key in keys if key.startswith("privacy/"))
    return tuple(name for name in names if name not in ("suite", "worst"))


def settings_of(row: Row, attack: str) -> dict[str, Any]:
    """The settings of one of its attacks, by dotted key."""
    return {key.split(".", 2)[2]: row[key] for key in _beginning(tuple(row), f"attack.{attack}.")}


@lru_cache(maxsize=512)
def _beginning(keys: tuple[str, ...], start: str) -> tuple[str, ...]:
    return tuple(key for key in keys if key.startswith(start))


def scores_of(row: Row) -> dict[str, str]:
    """Where in the store each attack's scores per victim lie; `clean/<attack>` is that attack on clean x."""
    files = {key[7:]: row[key] for key in _beginning(tuple(row), "scores/") if row[key]}
    pictures = {key[8:]: row[key] for key in _beginning(tuple(row), "picture/") if row[key]}
    return files or {name: f"{path.rpartition('/')[0]}/scores.safetensors" for name, path in pictures.items()}  # older


def images_of(row: Row) -> list[str]:
    """Those of them that rebuild images."""
    return [name for name in attacks_of(row) if row.get(f"picture/{name}")]


def _verdict(row: Row) -> str:
    """Its state in colour."""
    return f"[{VERDICTS[row['verdict']]}]{row['verdict']}[/]"


def headline(row: Row) -> str:
    """The name of the number that says what the service is worth."""
    return str(row.get("headline", "accuracy"))


def _beside(row: Row) -> str:
    """What to hold the headline against, where the row says it."""
    told = {"balanced": row.get("utility/balanced_accuracy")} if headline(row) == "accuracy" else {}
    told["most frequent class" if told else "chance"] = row.get(f"chance/{headline(row)}")
    words = ", ".join(f"{name} {value:.2%}" for name, value in told.items() if isinstance(value, float))
    return f" ({words})" if words else ""


def _answer(row: Row) -> str:
    """The error that the suite's answer leaves, under the suite's name and version; empty without a suite."""
    if not row.get("suite"):
        return ""
    return f" · {escape(row['suite'])} leaves MSE [bold]{_told(row, 'privacy/suite/mse', '.4f')}[/]"


def often(row: Row, before: str) -> str:
    """How often each image was released, behind what stands before it; empty where that was once."""
    queries = row.get("protocol.queries", 1)
    return "" if queries == 1 else f"{before}{queries} queries"


def _context(row: Row, name: str) -> str:
    return ",".join(attacks_of(row)) if name == "attacks" else str(row.get(name, ""))


def _told(row: Row, key: str, form: str) -> str:
    return "unknown" if row.get(key) is None else format(row[key], form)


def _cell(row: Row, key: str, metric: str) -> str:
    value = row.get(key)
    return "" if value is None else PRIVACY[metric].text(value) if metric in PRIVACY else f"{value:.4g}"


def print_plan(states: Sequence[tuple[Stage, State]], key: str, row: State) -> None:
    """The key and the state of every stage."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "key", "state"):
        table.add_column(column)
    told = [(str(stage), stage.key, state) for stage, state in states]
    for label, place, state in [*told, ("row", key, row)]:
        table.add_row(label, place, f"[{COLOURS[state]}]{state}[/]")
    console().print(table)
