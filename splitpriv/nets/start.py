"""Weights of a file as the start of a network of ours: one wrapper for all of their functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from splitpriv.nets.split import Backbone
from splitpriv.nets.weights import Head, load
from splitpriv.types import Spec, typed

NEW = {"weights": (str | None, None), "head": (Head, "keep")}  # settings: what they may be, and what changes nothing
PUBLISHED = ("none", "imagenet")  # words of those networks that can download their weights


def from_file(make: Callable[..., Backbone]) -> Callable[..., Backbone]:
    """The function of a backbone, which takes `weights` and `head` as a network by name does (`libraries.Named`).

    All weights have to be in the file, by the names of the stages. They replace what was drawn, the edge's own
    initialisation included; the numbers drawn after it are the same. Raises UserError for weights that do not fit.
    """
    signature = inspect.signature(make)
    told = "weights" in signature.parameters

    @functools.wraps(make)
    def made(spec: Spec, *, weights: str | None = None, head: Head = "keep", **settings: Any) -> Backbone:
        published = {"weights": weights if weights in PUBLISHED else "none"} if told else {}
        backbone = make(spec, **published, **settings)
        if weights is not None and not (told and weights in PUBLISHED):
            file, name = typed(weights, "backbone.weights"), make.__name__
            backbone.facts["weights"] = load(backbone, file, name, spec.classes, replaces=head == "replace")
            backbone.init_edge = None
        return backbone

    ours = {
        name: inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=str if told and value is None else kind
        )
        for name, (kind, value) in NEW.items()
    }
    made.__signature__ = signature.replace(parameters=[*{**signature.parameters, **ours}.values()])  # type: ignore[attr-defined]
    made.added = {name: value for name, (_, value) in NEW.items() if name not in signature.parameters}  # type: ignore[attr-defined]
    return made


def fresh(make: Callable[[Spec], Backbone]) -> Callable[[Spec], Backbone]:
    """The same without weights of a file, which whoever does not hold the network cannot have."""
    if isinstance(make, functools.partial) and make.keywords.get("weights") not in (None, *PUBLISHED):
        return functools.partial(make, weights=None)
    return make
