"""Backbones for seconds, for digits, and for data with closed forms."""

from __future__ import annotations

import itertools
from math import prod

from torch import nn

from splitpriv.nets.layers import GlobalMean, Normalise, named, require_side
from splitpriv.nets.split import Backbone
from splitpriv.nets.start import from_file
from splitpriv.types import Count, Spec


@from_file
def tiny(spec: Spec, *, width: Count) -> Backbone:
    """Three strided conv-BatchNorm-ReLU stages of width, 2 width and 4 width channels: 0.7 M multiply-adds at 32x32."""
    sizes = [spec.image[0], width, 2 * width, 4 * width]
    stages: dict[str, nn.Module] = {}
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=1):
        first = {"normalise": Normalise.of(spec)} if i == 1 else {}
        stages[f"conv{i}"] = named(
            **first,
            conv=nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            norm=nn.BatchNorm2d(outputs),
            act=nn.ReLU(),
        )
    stages["head"] = named(pool=GlobalMean(), fc=nn.Linear(4 * width, spec.classes))
    return Backbone(stages, {"shallow": "conv1", "middle": "conv2", "deep": "conv3"})


@from_file
def lenet5(spec: Spec) -> Backbone:
    """LeNet-5 with ReLU and max-pooling, as Cloak uses it: 5x5 convolutions 6-16-120, then 84 and the classes.

    Images below 32x32 are padded by two pixels, which makes 28x28 the 32x32 of the paper.
    """
    require_side("lenet5", spec, 28)
    pad = 2 if min(spec.image[1:]) < 32 else 0
    stages = {
        "conv1": named(normalise=Normalise.of(spec), conv=nn.Conv2d(spec.image[0], 6, 5, padding=pad), act=nn.ReLU()),
        "pool1": nn.MaxPool2d(2),
        "conv2": named(conv=nn.Conv2d(6, 16, 5), act=nn.ReLU()),
        "pool2": nn.MaxPool2d(2),
        "conv3": named(conv=nn.Conv2d(16, 120, 5), act=nn.ReLU()),
        "fc1": named(pool=GlobalMean(), fc=nn.Linear(120, 84), act=nn.ReLU()),
        "head": nn.Linear(84, spec.classes),
    }
    return Backbone(stages, {"shallow": "pool1", "middle": "pool2", "deep": "conv3"})


@from_file
def linear(spec: Spec, *, features: Count, hidden: Count) -> Backbone:
    """z = Wx of the raw pixels, without bias or normalisation, so that H(x|z) has a closed form; then an MLP."""
    stages = {
        "linear": named(flatten=nn.Flatten(), fc=nn.Linear(prod(spec.image), features, bias=False)),
        "hidden": named(fc=nn.Linear(features, hidden), act=nn.ReLU()),
        "head": nn.Linear(hidden, spec.classes),
    }
    return Backbone(stages, {"shallow": "linear", "middle": "linear", "deep": "hidden"})
