"""The points of a sweep, before any of them runs. Imports no torch until a point is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from splitpriv import config, overrides
from splitpriv.options import REPLACEABLE
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.run.plan import Planned


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its overrides, those of them in which points differ, and the run, checked."""

    words: tuple[str, ...]
    swept: tuple[str, ...]
    prepared: Planned

    def __str__(self) -> str:
        return " ".join(self.swept) or "as it is"


def searches(words: Sequence[str]) -> bool:
    """Whether these overrides name a sweeper that makes its points while it runs."""
    return any(overrides.key_of(w) == "hydra/sweeper" and overrides.value_of(w) != "basic" for w in words)


def read(words: Sequence[str]) -> list[Any]:
    """The overrides of a sweep as Hydra reads them, the last of each key; raise UserError with all problems."""
    if any(overrides.key_of(word).startswith("hydra.sweeper.params") for word in words) and not searches(words):
        raise UserError("hydra.sweeper.params: give what to sweep over as overrides, such as seed=0,1")
    kept = [word for word in overrides.last_of(words)[0] if not overrides.is_hydra(word)]
    read = [overrides.parse(word, sweep=True) for word in kept]
    if problems := [problem for _, problem in read if problem]:
        raise UserError(*problems)
    return [parsed for parsed, _ in read]


def expand(words: Sequence[str]) -> list[list[str]]:
    """The overrides of every point, as Hydra's basic sweeper makes them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = read(words)
    if problems := [
        f"{o.get_key_element()}: {overrides.value_of(o.input_line)} needs a sweeper that searches; {overrides.OPTUNA}"
        for o in parsed if o.is_sweep_override() and not o.is_discrete_sweep()
    ]:  # fmt: skip
        raise UserError(*problems)
    return [list(job) for job in BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]]


def ends(words: Sequence[str]) -> list[list[str]]:
    """The first and the last point of what a sweeper may search: it makes its points while it runs."""
    jobs: list[list[str]] = [[], []]
    for o in read(words):
        if o.is_discrete_sweep():
            values = list(o.sweep_string_iterator())
        elif o.is_sweep_override():
            values = [str(o.value().start), str(o.value().end)]
        else:
            values = [o.get_value_element_as_str()]
        key = o.get_key_element()
        for job, value in zip(jobs, (values[0], values[-1]), strict=True):
            job.append(f"{key}={value}" if not key.startswith("~") else str(o.input_line))
    return jobs


def fit(job: Sequence[str], known: set[str], own: set[str] | None = None) -> list[str]:
    """A point's overrides without those of a `known` defence or attack that is not among its `own`."""
    lacking = known - (config.parts_of(job) if own is None else own)
    return [word for word in job if _part(word) not in lacking]


def _part(word: str) -> str:
    group, *rest = overrides.place_of(word).split(".")
    return f"{group}.{rest[0]}" if group in REPLACEABLE and rest else ""


def settle(jobs: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[str]]:
    """Points whose settings all have a place, each once, and a line on what was left out."""
    parts = [config.parts_of(job) for job in jobs]
    known = set().union(*parts)
    fitted = [tuple(fit(job, known, own)) for job, own in zip(jobs, parts, strict=True)]
    once = list(dict.fromkeys(fitted))
    dropped = dict.fromkeys(
        overrides.key_of(word) for job, kept in zip(jobs, fitted, strict=True) for word in job if word not in kept
    )
    notes = []
    if dropped:
        cut = sum(len(kept) < len(job) for job, kept in zip(jobs, fitted, strict=True))
        notes.append(f"{', '.join(dropped)}: left out of {cut} of {len(jobs)} points, which have no such part")
    if len(once) < len(jobs):
        notes.append(f"{len(jobs)} points are {len(once)} different ones; each runs once")
    return [list(job) for job in once], notes


def prepare(jobs: Sequence[Sequence[str]]) -> list[Point]:
    """Check every point; raise UserError with all problems, each once, with the first point that has it."""
    from splitpriv.run import known

    shared = set(jobs[0]).intersection(*jobs)
    points: list[Point] = []
    problems: dict[str, list[str]] = {}
    alike: dict[tuple[str, ...], Any] = {}
    for job in jobs:
        swept = tuple(word for word in job if word not in shared)
        seeds, rest = _seeds(job)
        try:
            first: Any = alike.get(rest) if seeds else None
            again = hasattr(first, "reseeded")  # built here, not recalled
            seeds = {**_drawn(first.cfg), **seeds} if again else seeds
            planned = known.remembered(first.reseeded(**seeds)) if again else known.planned(job)
            alike.setdefault(rest, planned)
            points.append(Point(tuple(job), swept, planned))
        except UserError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(" ".join(swept))
    if problems:
        raise UserError(*(p if len(at) == len(jobs) else f"{p} [{at[0]}]" for p, at in problems.items()))
    return points


def _seeds(job: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """The seeds that a point names, where they are plain numbers, and its other words: on seeds no part depends."""
    named = {w.partition("=")[0]: w.partition("=")[2] for w in job if _is_seed(w)}
    plain = all(value.isdecimal() and len(value) < 9 for value in named.values())
    if not plain or any("${" in word for word in job):
        return {}, tuple(job)
    rest = tuple(w for w in job if not _is_seed(w))
    return {name: int(value) for name, value in named.items()}, rest


def _is_seed(word: str) -> bool:
    return word.startswith(("seed=", "attack_seed="))


def _drawn(cfg: config.Config) -> dict[str, int]:
    return {name: cfg[name] for name in ("seed", "attack_seed")}


def checked(words: Sequence[str]) -> tuple[list[Point], list[str]]:
    """Every point of a sweep, and lines on what was left out; raise UserError where one cannot run."""
    jobs, notes = settle(expand(words))
    return prepare(jobs), [*overrides.last_of(words)[1], *notes]
