"""A module of one's own as a backbone, by the name that a plug-in gives it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from splitpriv import plugins
from splitpriv.nets.libraries import Named, Seen, made
from splitpriv.store.keys import source
from splitpriv.types import UserError

CLASSES = ("num_classes", "classes", "n_classes")  # what constructors call how many there are


class Module(Named):
    """A `torch.nn.Module`: `name` is package:function or package:Class of a plug-in, which makes it.

    The number of classes is handed over where the constructor has an argument for it (CLASSES), or takes any.
    """

    whose = "your"

    def make(self, name: str, classes: int, arguments: Mapping[str, Any]) -> tuple[nn.Module, Seen]:
        maker = _maker(name)
        try:
            accepts = inspect.signature(maker).parameters
        except (TypeError, ValueError):
            accepts = {}  # type: ignore[assignment]
        told = next((word for word in CLASSES if word in accepts and word not in arguments), None)
        net = made(lambda: maker(**({told: classes} if told else {}), **arguments), name)
        if not isinstance(net, nn.Module):
            raise UserError(f"backbone.name: {name} makes a {type(net).__name__}, not a torch.nn.Module; correct it")
        return net, Seen()

    def origin(self, name: str) -> dict[str, Any]:
        return {"source": source(_maker(name))}


def _maker(name: str) -> Callable[..., Any]:
    """What a plug-in makes the module by; raises UserError for what no plug-in brings."""
    dotted = name.replace(":", ".")
    top = dotted.partition(".")[0]
    if "." not in dotted:
        raise UserError(f"backbone.name: {name!r} names no class or function; write package:function")
    if plugins.of(dotted) is None:
        raise UserError(
            f"backbone.name: {name!r} is of no plug-in; consent to its code with plugins=[{top}], where {top} is a "
            "package, a file or a folder"
        )
    maker: Callable[..., Any] = plugins.member(dotted, "backbone")
    if not callable(maker) or isinstance(maker, nn.Module):
        raise UserError(f"backbone.name: {name} cannot be called; name a function or class that makes the module")
    return maker
