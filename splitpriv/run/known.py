"""Plans of configs that were checked before: a process without torch can then do without it.

A plan follows from the config, from the code and, where a run reads files of one's own, from what they hold. What the
code and the libraries were is told by sizes and times of our files and of the folder in which libraries lie; a run that
reads files of one's own, or uses code of one's own, is checked anew each time. Plans lie in the user's cache,
`SPLITPRIV_CACHE` or ~/.cache/splitpriv, since no store has a part in them. Imports no torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import annotated_types

import splitpriv
from splitpriv import config
from splitpriv.config import Config, flatten
from splitpriv.run.plan import Plan, Planned
from splitpriv.store import proof, write_atomic
from splitpriv.targets import TRUSTED
from splitpriv.types import Phase

if TYPE_CHECKING:
    from splitpriv.run.prepare import Prepared

STALE = 7 * 86400  # seconds after which plans by other code go


def planned(words: Sequence[str]) -> Planned:
    """Compose and check, or remember that it was checked; raise UserError with all problems."""
    if "torch" not in sys.modules:
        with contextlib.suppress(config.RefusedError):  # which is explained beside what else is wrong
            return of(config.compose(words))
    from splitpriv.run.prepare import from_overrides

    return remembered(from_overrides(words))


def of(cfg: Config) -> Planned:
    """The same of a config."""
    if "torch" not in sys.modules and (plan := _recalled(cfg)):
        return Planned(cfg, plan)
    from splitpriv.run.prepare import prepare

    return remembered(prepare(cfg))


def _recalled(cfg: Config) -> Plan | None:
    try:
        kept = proof.unseal(_place(cfg).read_text(encoding="utf-8"), since="row")
        tuples = {name: tuple(kept[name]) for name in ("fits", "seeds")}
        phases = tuple(Phase(**{**phase, "train": tuple(phase["train"]), "frozen": tuple(phase["frozen"])})
                       for phase in kept["phases"])  # fmt: skip
        clean = {name: (attack, scores) for name, (attack, scores) in kept["clean"].items()}
        return Plan(**{**kept, **tuples, "phases": phases, "clean": clean})
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError):  # none, or not ours
        return None


def remembered(prepared: Prepared) -> Prepared:
    """The same, its plan kept for the next process where nothing but the config decides on it."""
    if _is_told_by_config(prepared):
        with contextlib.suppress(OSError, RuntimeError):  # no home, or no room in it: it is checked again then
            place = _place(prepared.cfg)
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(place, proof.seal(dataclasses.asdict(prepared.plan)))
                _forget(place.parent)
    return prepared


def _is_told_by_config(prepared: Prepared) -> bool:
    """Whether nothing but the config, our code and the libraries decides on the plan."""
    from splitpriv.data.base import Dataset
    from splitpriv.data.knowledge import Knowledge

    parts, cfg = prepared.parts, prepared.cfg
    if {"weights", "source"} & parts.network.keys():  # a file's content, code of one's own
        return False
    if type(parts.dataset).content is not Dataset.content or type(parts.knowledge).content is not Knowledge.content:
        return False
    texts = [(key, value) for key, value in _leaves(cfg) if isinstance(value, str)]
    roots = (Path(), Path(cfg["paths"]["data"]))
    return all(text.startswith(TRUSTED) for key, text in texts if key.endswith("_target_")) and not any(
        (root / text).is_file() for key, text in texts if "\0" not in text and len(text) < 255 for root in roots
    )


def _leaves(cfg: Config) -> Iterator[tuple[str, Any]]:
    for key, value in flatten({k: v for k, v in cfg.items() if k not in ("paths", "choices")}).items():
        yield from ((key, each) for each in (value if isinstance(value, list) else [value]))


def _place(cfg: Config) -> Path:
    """The file of a config's plan, in the folder of the code and the libraries that made it."""
    told = {k: v for k, v in cfg.items() if k != "paths"}
    home = os.environ.get("SPLITPRIV_CACHE")
    cache = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "splitpriv"
    return cache / f"plans-{_code()}" / f"{_digest(told)}.json"


@functools.cache
def _code() -> str:
    package = Path(splitpriv.__file__).parent
    files = [(str(p.relative_to(package)), p.stat().st_size, p.stat().st_mtime_ns) for p in package.rglob("*.py")]
    libraries = Path(annotated_types.__file__).parents[1].stat().st_mtime_ns  # changes as packages come and go
    return _digest([str(package), sorted(files), libraries, sys.version])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _forget(current: Path) -> None:
    for folder in current.parent.glob("plans-*"):
        if folder != current and folder.stat().st_mtime < time.time() - STALE:
            shutil.rmtree(folder, ignore_errors=True)
