"""What a defence says of itself, held against what reads it: before anything is trained, and once it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.measure.remedies import ADAPTIVE
from splitpriv.types import Phase, Pull, UserError


def require(model: Defended) -> None:
    """Raise UserError, of all that is wrong, where no reader of a defence could make sense of what it says."""
    problems = []
    for name, link in model.defenses():
        what = {"noise_std": ("a number of 0 or more", _number(link.noise_std)),
                "bits": ("a number above 0", _number(link.bits) and link.bits > 0),
                "keep": (f"None, or a tensor that fits {model.shape}", _fits(link.keep, model.shape)),
                "adaptive": (f"a frozenset of some of {', '.join(ADAPTIVE)}", _known(link.adaptive)),
                "phases": ("a tuple of Phase", _all(link.phases, Phase))}  # fmt: skip
        problems += [f"defense.{name}: {key} is {getattr(link, key)!r:.80}; make it {right}"
                     for key, (right, so) in what.items() if not so]  # fmt: skip
    if problems:
        raise UserError(*problems)


def facts(name: str, link: Defense, batch: int, rates: Sequence[float]) -> tuple[Mapping[str, float | str], Pull]:
    """What a trained defence says for the row, and how hard it pulled; UserError where a row cannot hold it."""
    told, pull = link.facts, link.pull(batch, rates)
    if not _plain(told):
        raise UserError(f"defense.{name}: facts are {told!r:.80}; make them a dict of names and plain numbers or text")
    if not isinstance(pull, Pull) or not _plain(pull.facts):
        raise UserError(f"defense.{name}: pull returns {pull!r:.80}; return a splitpriv.types.Pull of plain numbers")
    return told, pull


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
