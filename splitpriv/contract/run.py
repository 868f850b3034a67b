"""All checks of all options that some plug-ins bring."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from splitpriv import plugins
from splitpriv.contract import attacks, backbones, defenses, runs, yamls
from splitpriv.contract.base import LeftOutError
from splitpriv.types import UserError

Check = Callable[[str], None]
WHOLE = ("dataset", "backbone", "task", "defense", "attack", "optim", "protocol", "knowledge", "measure", "split")
CHECKS: dict[str, tuple[Check, ...]] = {
    "defense": defenses.CHECKS,
    "attack": attacks.CHECKS,
    "backbone": backbones.CHECKS,
    "dataset": (runs.is_read,),
    "track": (runs.records,),
    "table": (runs.plans,),
}


@dataclass(frozen=True)
class Result:
    """One check of one option, and why it is not kept (`broken`), or was `left` out."""

    group: str
    option: str
    check: str
    state: Literal["ok", "broken", "left"] = "ok"
    why: str = ""


def checks(group: str, option: str) -> Sequence[tuple[str, Callable[[], None]]]:
    """The checks of one option, by name."""
    listed: list[tuple[str, Callable[[], None]]] = [
        (yamls.matches_its_signature.__name__, functools.partial(yamls.matches_its_signature, group, option)),
        *((check.__name__, functools.partial(check, option)) for check in CHECKS.get(group, ())),
    ]
    if group in WHOLE:
        listed.append((runs.makes_a_run.__name__, functools.partial(runs.makes_a_run, group, option)))
    return [(name.replace("_", " "), check) for name, check in listed]


def examine(options: Sequence[tuple[str, str]]) -> Iterator[Result]:
    """The result of every check, as it comes; what any of them raises is a problem of the option."""
    for group, option in options:
        for name, check in checks(group, option):
            try:
                check()
            except LeftOutError as error:
                yield Result(group, option, name, "left", str(error))
            except UserError as error:
                yield Result(group, option, name, "broken", "; ".join(error.problems))
            except Exception as error:
                yield Result(group, option, name, "broken", told(error))
            else:
                yield Result(group, option, name)


def told(error: BaseException) -> str:
    """One line on what a check raised, and where: in the plug-in's own code, if it was there."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if isinstance(error, AssertionError):
        return first
    roots = [plugin.root for plugin in plugins.active()]
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if any(Path(f.filename).resolve().is_relative_to(root) for root in roots)]
    where = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}: {first}{where}"
