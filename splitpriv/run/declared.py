"""What defences and attacks say of themselves, held against what reads it, before anything is trained and after."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.attacks.base import Attack, Observed, Reconstructor, Recovered, Right
from splitpriv.defenses.base import Defended, Defense
from splitpriv.measure.remedies import ADAPTIVE
from splitpriv.types import Phase, Pull, Spec, UserError

EDGE = 1e-3  # beyond [0, 1] that rounding explains


def require(model: Defended) -> None:
    """Raise UserError, of all that is wrong, where no reader of a defence could make sense of what it says."""
    problems = []
    for name, link in model.defenses():
        what = {"noise_std": ("a number of 0 or more", _number(link.noise_std)),
                "bits": ("a number above 0", _number(link.bits) and link.bits > 0),
                "keep": (f"None, or a tensor that fits {model.shape}", _fits(link.keep, model.shape)),
                "adaptive": (_some(ADAPTIVE), _known(link.adaptive, ADAPTIVE)),
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


def attacks(listed: Mapping[str, Attack]) -> list[str]:
    """What is wrong with what attacks say of themselves."""
    problems = []
    for name, attack in listed.items():
        what = {"requires": (_some(get_args(Right)), _known(attack.requires, get_args(Right))),
                "recovers": (f"one of {', '.join(get_args(Recovered))}", attack.recovers in get_args(Recovered)),
                "observe": (f"one of {', '.join(get_args(Observed))}", attack.observe in get_args(Observed)),
                "draws": ("a whole number of 1 or more", _count(attack.draws)),
                "eot": ("a whole number of 1 or more", _count(attack.eot)),
                "adapts": (_some(ADAPTIVE), _count(attack.draws) and _known(attack.adapts, ADAPTIVE))}  # fmt: skip
        wrong = [key for key, (_, so) in what.items() if not so]
        if "draws" in wrong:
            wrong.remove("adapts")  # which may follow from them
        problems += [f"attack.{name}: {key} is {getattr(attack, key)!r:.80}; make it {what[key][0]}" for key in wrong]
    return problems


def fitted(name: str, made: Any) -> Reconstructor:
    """What the fit of an attack returned; UserError unless it can be asked and its report kept."""
    if not isinstance(made, Reconstructor):
        raise UserError(f"attack.{name}: fit returns a {type(made).__name__}; return a Reconstructor")
    report = getattr(made, "report", None)
    try:
        json.dumps(report)
    except (TypeError, ValueError) as error:
        raise UserError(f"attack.{name}: report cannot be kept ({error}); make its values plain") from error
    if not isinstance(report, Mapping):
        raise UserError(f"attack.{name}: report is {report!r:.80}; make it a dict, empty if there is nothing to say")
    return made


def recovered(name: str, attack: Attack, found: Any, count: int, spec: Spec) -> None:
    """Raise UserError unless `found` is what the attack says that it recovers of `count` releases, by name."""
    if not isinstance(found, Mapping) or "" not in found:
        told = sorted(found) if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise UserError(f'attack.{name}: everything returns {told}; return a dict, what is recovered under ""')
    values = spec.classes if attack.attribute == "y" else spec.attributes.get(attack.attribute, 0)
    shape = {"image": (count, *spec.image), "attribute": (count, values), "identity": (count, None)}[attack.recovers]
    for part, value in found.items():
        so = isinstance(value, Tensor) and value.dim() == len(shape)
        if not so or any(b is not None and a != b for a, b in zip(value.shape, shape, strict=True)):
            made = tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise UserError(f"attack.{name}: recovers {made} of {count} releases; return {shape}")
        if attack.recovers == "image" and host.to_host(((value < -EDGE) | (value > 1 + EDGE)).any()[None].float())[0]:
            raise UserError(f"attack.{name}: {part or 'it'} rebuilds values outside [0, 1], which no image has and any "
                            "adversary would mend; clamp them")  # fmt: skip


def _some(words: Iterable[str]) -> str:
    return f"a frozenset of some of {', '.join(words)}"


def _count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _fits(value: Any, shape: Sequence[int]) -> bool:
    if value is None:
        return True
    try:
        return isinstance(value, Tensor) and torch.broadcast_shapes(value.shape, shape) == tuple(shape)
    except RuntimeError:
        return False


def _known(value: Any, words: Iterable[str]) -> bool:
    return isinstance(value, frozenset | set) and value <= set(words)


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(part, kind) for part in value)


def _plain(told: Any) -> bool:
    return isinstance(told, Mapping) and all(
        isinstance(key, str) and isinstance(value, int | float | str) for key, value in told.items()
    )
