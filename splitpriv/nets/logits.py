"""Whether a stranger's network gives logits, of several images and of one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from splitpriv.nets import graph
from splitpriv.nets.modes import evaluating
from splitpriv.types import Shape, UserError


def require(given: Any, classes: int, called: str) -> None:
    """Raise UserError for an answer that is no logits (N, classes)."""
    shape = tuple(given.shape[1:]) if isinstance(given, Tensor) else None
    if shape != (classes,):
        said = f"a tensor (N, {', '.join(map(str, shape))})" if shape is not None else f"a {type(given).__name__}"
        raise UserError(f"backbone: {called} gives {said}, not logits (N, {classes}); wrap it in a module that does")


def answer(bones: nn.Module, image: Shape, called: str) -> Any:
    """What a network on the meta device gives for images; raises UserError where it cannot be run on them."""
    try:
        return _run(bones, image, 2)
    except Exception as error:  # whatever the forward of a stranger raises
        size = "x".join(map(str, image[1:]))
        raise UserError(
            f"backbone: {called} cannot be run on images of {image[0]}x{size} ({graph.first_line(error)}); another "
            "backbone.resolution may help"
        ) from error


def require_of_one(bones: nn.Module, image: Shape, classes: int, called: str) -> None:
    """Raise UserError where a network answers one image, as a last batch may be, otherwise than several."""
    try:
        _run(bones, image, 2)
    except Exception:  # it runs on this device in its graph alone, and nothing shows
        return
    try:
        given = _run(bones, image, 1)
        said = f"gives {tuple(given.shape)}"
    except Exception as error:
        given, said = None, f"fails ({graph.first_line(error)})"
    if given is None or tuple(given.shape) != (1, classes):
        raise UserError(f"backbone: {called} {said} for one image, as a last batch may be, and not (1, {classes}); let "
                        "it squeeze and reshape by axes that are named, as in flatten(1)")  # fmt: skip


def _run(bones: nn.Module, image: Shape, images: int) -> Any:
    with torch.no_grad(), graph.countable(), torch.device("meta"), evaluating(bones):
        return bones(torch.empty(images, *image, device="meta"))
