"""Networks by name, timm's and torchvision's, with weights from a file where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Len
from torch import nn

from splitpriv import config
from splitpriv.nets.graph import first_line
from splitpriv.nets.network import Network
from splitpriv.nets.weights import Head, load
from splitpriv.types import Count, Positive, Spec, UserError, typed

Resolution = Literal["auto", "data", "model"] | Count | tuple[Count, Count]
Level = Annotated[list[float], Len(1, 4)]
Spread = Annotated[list[Positive], Len(1, 4)]


@dataclass(frozen=True)
class Seen:
    """The images that a model was made for: `size` (H, W), where `fixed` it takes no other; `mean` and `std`."""

    size: tuple[int, int] | None = None
    fixed: bool = False
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None


class Named(Network):
    """A network that some library makes by name, with as many classes as the data set has.

    `weights`: a file to start from, which must fit; a head of another size is drawn anew where `head` says replace.
    `resolution`: auto gives images as they are to a network that starts from nothing, and resized to what they were
    made for to weights of a file, or to a model that takes one size alone; data, model, pixels of a side, or
    [height, width] say it. `mean` and `std`, per channel: null takes the model's own, where it says any, else those of
    the data set. `arguments` go to the model's constructor.
    """

    whose: ClassVar[str]  # for messages

    def __init__(
        self, spec: Spec, *, name: str, weights: str | None, head: Head, resolution: Resolution, mean: Level | None,
        std: Spread | None, arguments: dict[str, Any],
    ) -> None:  # fmt: skip
        net, seen = self.make(name, spec.classes, arguments)
        called = f"{self.whose} {name}"
        channels = 3 if spec.image[0] == 1 and len(seen.mean or spec.mean) != 1 else spec.image[0]
        facts: dict[str, Any] = self.origin(name)
        if weights is not None:
            file = typed(weights, "backbone.weights")
            facts["weights"] = load(net, file, called, spec.classes, replaces=head == "replace")
        super().__init__(
            net, spec, called, size=size_of(resolution, seen, weights is not None, called),
            mean=_levels(mean or seen.mean or spec.mean, channels, "mean"),
            std=_levels(std or seen.std or spec.std, channels, "std"), facts=facts,
        )  # fmt: skip

    def make(self, name: str, classes: int, arguments: Mapping[str, Any]) -> tuple[nn.Module, Seen]:
        """The model, freshly initialised, and what it was made to see; raises UserError."""
        raise NotImplementedError

    def origin(self, name: str) -> dict[str, Any]:
        """What else the key should say of where the model comes from."""
        return {}


class Timm(Named):
    """A model of timm, whose list is `timm.list_models()`; never downloaded."""

    whose = "timm's"

    def make(self, name: str, classes: int, arguments: Mapping[str, Any]) -> tuple[nn.Module, Seen]:
        timm = _library("timm")
        plain = name.removeprefix("timm/")
        if plain.partition(".")[0] not in timm.list_models():
            raise _unknown(name, "timm", timm.list_models())
        net = made(lambda: timm.create_model(plain, pretrained=False, num_classes=classes, **arguments), name)
        said = getattr(net, "pretrained_cfg", {}) or {}
        size = tuple(said.get("input_size") or (0, 0, 0))[1:]
        return net, Seen(
            size if any(size) else None, bool(said.get("fixed_input_size")), said.get("mean"), said.get("std")
        )


class Torchvision(Named):
    """A classifier of torchvision, whose list is `torchvision.models.list_models()`; never downloaded."""

    whose = "torchvision's"

    def make(self, name: str, classes: int, arguments: Mapping[str, Any]) -> tuple[nn.Module, Seen]:
        models: Any = _library("torchvision").models
        known = models.list_models(module=models)
        if name not in known:
            raise _unknown(name, "torchvision", known)
        more = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
        net = made(lambda: models.get_model(name, weights=None, num_classes=classes, **{**more, **arguments}), name)
        shown = models.get_model_weights(name).DEFAULT.transforms()
        side = int(shown.crop_size[0])
        return net, Seen((side, side), hasattr(net, "image_size"), shown.mean, shown.std)


def size_of(resolution: Resolution, seen: Seen, trained: bool, called: str) -> tuple[int, int] | None:
    """What images are resized to, None: they stay as they are."""
    if resolution == "auto":
        return seen.size if trained or seen.fixed else None
    if resolution == "model" and seen.size is None:
        raise UserError(f"backbone.resolution: {called} says no size of its own; give its pixels, or data")
    if isinstance(resolution, str):
        return seen.size if resolution == "model" else None
    return (resolution, resolution) if isinstance(resolution, int) else (resolution[0], resolution[1])


def _levels(values: Sequence[float], channels: int, key: str) -> list[float]:
    """One value per channel of the network; one alone counts for all."""
    if len(values) not in (1, channels):
        raise UserError(f"backbone.{key}: has {len(values)} values, and images have {channels} channels; give one each")
    return [float(v) for v in values] * (channels if len(values) == 1 else 1)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"backbone: needs the package {name}, which cannot be imported ({first_line(error)}); "
            f"pip install {'splitpriv[timm]' if name == 'timm' else name!r}"
        ) from error


def _unknown(name: str, library: str, known: Sequence[str]) -> UserError:
    return UserError(
        f"backbone.name: {library} has no model {name!r}; {config.nearest(name, known)}".replace(
            "see conf/ for what exists", f"{library}.list_models() lists all {len(known)}"
        )
    )


def made(make: Callable[[], Any], name: str) -> Any:
    """A model, on the device at hand; by way of the CPU where its constructor looks at values, which meta has not."""
    try:
        return make()
    except UserError:
        raise
    except Exception as error:
        if torch.get_default_device().type != "meta":
            raise _failed(name, error) from error
    try:
        with torch.device("cpu"):
            return make().to("meta")
    except Exception as error:
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> UserError:
    return UserError(
        f"backbone.arguments: {name} cannot be made with these settings ({type(error).__name__}: {first_line(error)}); "
        "correct them"
    )
