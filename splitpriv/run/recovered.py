"""What an attack gives back, held against what scores and rows read of it, before its work is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from splitpriv.attacks.base import Attack, Reconstructor, Recovered
from splitpriv.types import Spec, UserError

ROUNDED = 1e-3  # by how much a pixel may leave [0, 1]
NUMBERS = ("gain_from_twice_aux", "gain_from_twice_effort", "contradicted", "chosen_on", "drift", "select_mse")


def reconstructor(fitted: Any) -> Reconstructor:
    """What a fit returns; UserError where it cannot be asked for what it recovers, or says nothing of its making."""
    if not isinstance(fitted, Reconstructor):
        raise UserError(f": fit returns a {type(fitted).__name__}; return a splitpriv.attacks.base.Reconstructor")
    if not isinstance(getattr(fitted, "report", None), dict):
        raise UserError(f": {type(fitted).__name__}.report is no dict; set it in the constructor, empty at least")
    if not callable(fitted.enrol) and fitted.enrol is not None:
        raise UserError(f": enrol is {fitted.enrol!r:.80}; make it a function of images, or leave it out")
    return fitted


def report(attack: Attack, told: dict[str, Any]) -> None:
    """Raise UserError where a row cannot hold a report, or flags cannot read it."""
    try:
        json.dumps(told)
    except (TypeError, ValueError) as error:
        raise UserError(f": report cannot be written ({error}); give plain numbers, texts and lists") from error
    if not isinstance(told.get("converged"), bool | None):
        raise UserError(f": report says converged is {told['converged']!r:.80}; make it true, false or leave it out")
    if strange := [name for name in NUMBERS if not isinstance(told.get(name), int | float | None)]:
        raise UserError(f": report says {strange[0]} is {told[strange[0]]!r:.80}; make it a number, or leave it out")
    if attack.suite is not None and told.get("select_mse") is None:
        raise UserError(": report has no select_mse, by which a suite is chosen; add it, or set suite = None")


def everything(attack: Attack, found: Any, count: int, spec: Spec) -> dict[str, Tensor]:
    """What is recovered from `count` releases by name, the answer under ""; UserError unless each is as promised."""
    if not isinstance(found, Mapping) or "" not in found:
        told = f"has {', '.join(map(repr, found))}" if isinstance(found, Mapping) else f"is a {type(found).__name__}"
        raise UserError(f': everything {told}; return a dict with the answer under ""')
    for name, part in found.items():
        if not isinstance(name, str) or "/" in name or name in get_args(Recovered):
            raise UserError(f": everything names a member {name!r}; give it a name without a slash")
        _require(attack, part, count, spec, f": {name or 'forward'}")
    return dict(found)


def gallery(parts: list[Any], queries: Tensor) -> Tensor:
    """What `enrol` makes of the victims' images; UserError unless it is embedded as the `queries` are."""
    made = torch.cat(parts) if all(isinstance(part, Tensor) for part in parts) else None
    if made is None or made.shape != queries.shape:
        told = f"a {type(parts[0]).__name__}" if made is None else str(tuple(made.shape))
        raise UserError(
            f": enrol makes {told} of {len(queries)} images; return {tuple(queries.shape)}, as forward does"
        )
    return made


def _require(attack: Attack, part: Any, count: int, spec: Spec, called: str) -> None:
    image = attack.recovers == "image"
    if attack.recovers == "attribute":
        wanted: tuple[int, ...] = (count, {**spec.attributes, "y": spec.classes}[attack.attribute])
    else:
        wanted = (count, *spec.image) if image else (count, *getattr(part, "shape", (0, 1))[1:2])
    fits = isinstance(part, Tensor) and tuple(part.shape) == wanted and len(wanted) > 1
    if not fits or part.is_complex() or part.is_sparse or (image and not part.is_floating_point()):
        told = f"{tuple(part.shape)} in {part.dtype}" if isinstance(part, Tensor) else f"a {type(part).__name__}"
        what = {"image": f"images {wanted} of floats in [0, 1]", "attribute": f"logits {wanted}",
                "identity": f"embeddings ({count}, E)"}[attack.recovers]  # fmt: skip
        raise UserError(f"{called} makes {told} of {count} releases; return {what}")
    if not image and not torch.isfinite(part).all():  # of images, flags say so
        raise UserError(f"{called} makes NaN or infinite values; lower its learning rate, or correct it")
    if image and spec.entropy is None and ((part < -ROUNDED) | (part > 1 + ROUNDED)).any():  # a known law may leave it
        low, high = part.aminmax()
        raise UserError(f"{called} makes images from {low:.3g} to {high:.3g}; bring them to [0, 1], as by clamp(0, 1)")
