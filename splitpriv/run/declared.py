"""What parts say of themselves, held against what reads it: before anything is trained, and once it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from splitpriv.attacks.base import Attack, Observed, Recovered, Right
from splitpriv.data.base import Dataset
from splitpriv.defenses.base import Defended, Defense
from splitpriv.measure.remedies import ADAPTIVE
from splitpriv.metrics import UTILITY
from splitpriv.tasks.base import Task
from splitpriv.types import Phase, Pull, Spec, UserError

Asked = Mapping[str, tuple[str, bool]]  # by attribute, what it must be and whether it is

ROUNDED = 1e-6  # by how much a share may leave [0, 1]


def require(model: Defended) -> None:
    """Raise UserError, of all that is wrong, where no reader of a defence could make sense of what it says."""
    problems = []
    for name, link in model.defenses():
        what: Asked = {"noise_std": ("a number of 0 or more", _number(link.noise_std)),
                "bits": ("a number above 0", _number(link.bits) and link.bits > 0),
                "keep": (f"None, or a tensor that fits {model.shape}", _fits(link.keep, model.shape)),
                "adaptive": (f"a frozenset of some of {', '.join(ADAPTIVE)}", _known(link.adaptive)),
                "phases": ("a tuple of Phase", _all(link.phases, Phase))}  # fmt: skip
        problems += _unmet(link, f"defense.{name}", what)
    if problems:
        raise UserError(*problems)


def parts(made: Any, where: str) -> Any:
    """A part as it was built; UserError where what it says before anything is read makes no sense."""
    if isinstance(made, Attack):
        what: Asked = {
            "requires": _some(made.requires, Right), "recovers": _one(made.recovers, Recovered),
            "observe": _one(made.observe, Observed),
            **{key: ("a whole number of at least 1", _count(getattr(made, key))) for key in ("draws", "eot", "top")},
            "adapts": (f"a frozenset of some of {', '.join(ADAPTIVE)}", not _count(made.draws) or _known(made.adapts)),
        }  # fmt: skip
    elif isinstance(made, Dataset):
        spec = getattr(made, "spec", None)
        what = {"spec": ("a splitpriv.types.Spec, as in self.spec = Spec((3, 32, 32), 10)", isinstance(spec, Spec)),
                "crop": ("a whole number of pixels", made.crop == 0 or _count(made.crop)),
                "flip": ("true or false", isinstance(made.flip, bool)),
                "rotation": ("degrees, 0 or more", _number(made.rotation))}  # fmt: skip
    elif where.startswith("track."):
        patience = getattr(made, "patience", None)
        what = {"patience": ("seconds; hand it to super().__init__(patience=patience)", _number(patience))}
    else:
        return made
    if problems := _unmet(made, where, what):
        raise UserError(*problems)
    return made


def worth(task: Task, told: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The numbers by which a `task` judges, utility and chance, as it `told` them; UserError where a row cannot hold
    them, or lacks the headline."""
    called = f"task: {type(task).__name__}"
    for what, numbers in told.items():
        if not isinstance(numbers, Mapping) or not all(
            isinstance(k, str) and isinstance(v, int | float) for k, v in numbers.items()
        ):
            raise UserError(
                f"{called}.{what} returns {numbers!r:.80}; return a dict of plain numbers, as by float(...)"
            )
        for name, value in numbers.items():
            if (
                name in UTILITY
                and UTILITY[name].digits == "%"
                and not -ROUNDED <= value <= 1 + ROUNDED
                and value == value
            ):
                raise UserError(f"{called}.{what}: {name} is {value:g}; give a share from 0 to 1")
    if task.headline not in told["utility"]:
        has = ", ".join(told["utility"]) or "nothing"
        raise UserError(f"{called}.headline is {task.headline!r}, and its utility has {has}; name one of these")
    return {what: dict(numbers) for what, numbers in told.items()}


def tested(task: Task, told: Any) -> int | None:
    """From how many images a `task` says that its headline comes; UserError for anything else."""
    if not isinstance(told, int | None):
        raise UserError(f"task: {type(task).__name__}.tested returns {told!r:.80}; return a whole number")
    return told


def gaps(task: Task, told: Any) -> dict[str, list[int]]:
    """The classes that a `task` says are missing of a split; UserError for anything else."""
    if not isinstance(told, Mapping) or not all(isinstance(missing, list) for missing in told.values()):
        raise UserError(f"task: {type(task).__name__}.gaps returns {told!r:.80}; return a dict of lists of classes")
    return dict(told)


def facts(name: str, link: Defense, batch: int, rates: Sequence[float]) -> tuple[Mapping[str, float | str], Pull]:
    """What a trained defence says for the row, and how hard it pulled; UserError where a row cannot hold it."""
    told, pull = link.facts, link.pull(batch, rates)
    if not _plain(told):
        raise UserError(f"defense.{name}: facts are {told!r:.80}; make them a dict of names and plain numbers or text")
    if not isinstance(pull, Pull) or not _plain(pull.facts):
        raise UserError(f"defense.{name}: pull returns {pull!r:.80}; return a splitpriv.types.Pull of plain numbers")
    return told, pull


def _unmet(said: Any, where: str, what: Asked) -> list[str]:
    return [f"{where}: {key} is {getattr(said, key, None)!r:.80}; make it {right}"
            for key, (right, so) in what.items() if not so]  # fmt: skip


def _one(value: Any, words: Any) -> tuple[str, bool]:
    return f"one of {', '.join(get_args(words))}", value in get_args(words)


def _some(value: Any, words: Any) -> tuple[str, bool]:
    so = isinstance(value, frozenset | set) and value <= set(get_args(words))
    return f"a frozenset of some of {', '.join(get_args(words))}", so


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _fits(value: Any, shape: Sequence[int]) -> bool:
    if value is None:
        return True
    try:
        return isinstance(value, Tensor) and torch.broadcast_shapes(value.shape, shape) == tuple(shape)
    except RuntimeError:
        return False


def _known(value: Any) -> bool:
    return isinstance(value, frozenset | set) and value <= set(ADAPTIVE)


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(part, kind) for part in value)


def _plain(told: Any) -> bool:
    return isinstance(told, Mapping) and all(
        isinstance(key, str) and isinstance(value, int | float | str) for key, value in told.items()
    )
