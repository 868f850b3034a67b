"""VGG-11 with BatchNorm for small images."""

from __future__ import annotations

from typing import Literal

from torch import nn

from splitpriv.nets.layers import GlobalMean, Normalise, named, require_side
from splitpriv.nets.split import Backbone
from splitpriv.nets.start import from_file
from splitpriv.types import Count, Rate, Spec

_LAYERS: tuple[int | str, ...] = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")


@from_file
def vgg11(spec: Spec, *, dropout: Rate, init: Literal["xavier", "default"]) -> Backbone:
    """VGG-11 with BatchNorm and CIFAR's 512-512 head, as in ResSFL and CEM.

    Every entry of the layer list, pools included, is a stage: `split.at` is their cutlayer, and shallow, middle, deep
    are their 2, 4 and 5. `init` xavier is CEM's for the edge: Xavier-uniform weights, zero biases; the cloud keeps
    PyTorch's. Images of at least 32x32.
    """
    return _vgg11(spec, dropout, init, extra=0)


@from_file
def vgg11_double(spec: Spec, *, dropout: Rate, init: Literal["xavier", "default"], extra: Count) -> Backbone:
    """The same behind one more convolution, stage `conv0` of `extra` channels: CEM's double local layer for PATROL."""
    return _vgg11(spec, dropout, init, extra)


def _vgg11(spec: Spec, dropout: float, init: str, extra: int) -> Backbone:
    require_side("vgg11", spec, 32)
    stages: dict[str, nn.Module] = {}
    inputs, convs, pools = spec.image[0], 0, 0
    if extra:
        conv = nn.Conv2d(inputs, extra, 3, padding=1)
        stages["conv0"] = named(normalise=Normalise.of(spec), conv=conv, norm=nn.BatchNorm2d(extra), act=nn.ReLU())
        inputs = extra
    for entry in _LAYERS:
        if isinstance(entry, str):
            pools += 1
            stages[f"pool{pools}"] = nn.MaxPool2d(2)
            continue
        convs += 1
        first = {"normalise": Normalise.of(spec)} if not stages else {}
        conv = nn.Conv2d(inputs, entry, 3, padding=1)
        stages[f"conv{convs}"] = named(**first, conv=conv, norm=nn.BatchNorm2d(entry), act=nn.ReLU())
        inputs = entry
    stages["head"] = named(
        pool=GlobalMean(),
        drop1=nn.Dropout(dropout),
        fc1=nn.Linear(512, 512),
        act1=nn.ReLU(),
        drop2=nn.Dropout(dropout),
        fc2=nn.Linear(512, 512),
        act2=nn.ReLU(),
        fc3=nn.Linear(512, spec.classes),
    )
    cuts = {"shallow": "pool1", "middle": "pool2", "deep": "conv3"}
    return Backbone(stages, cuts, _xavier if init == "xavier" else None)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
