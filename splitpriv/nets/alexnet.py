"""AlexNet for small images."""

from __future__ import annotations

from torch import nn

from splitpriv.nets.layers import GlobalMean, Normalise, named, require_side
from splitpriv.nets.split import Backbone
from splitpriv.nets.start import from_file
from splitpriv.types import Rate, Spec

_CONVS = ((64, 11, True), (192, 5, True), (384, 3, False), (256, 3, False), (256, 3, True))  # channels, kernel, pool


@from_file
def alexnet(spec: Spec, *, dropout: Rate) -> Backbone:
    """AlexNet for 32x32 images, as Cloak uses it on CIFAR-100: its first convolution, 11x11 of stride 4, is padded
    by 5, its pools halve, and the 4096-4096 head meets 256 features. Images of at least 32x32.
    """
    require_side("alexnet_cloak", spec, 32)
    stages: dict[str, nn.Module] = {}
    inputs = spec.image[0]
    for i, (outputs, kernel, pool) in enumerate(_CONVS, start=1):
        first = {"normalise": Normalise.of(spec)} if i == 1 else {}
        conv = nn.Conv2d(inputs, outputs, kernel, stride=4 if i == 1 else 1, padding=kernel // 2)
        last = {"pool": nn.MaxPool2d(2)} if pool else {}
        stages[f"conv{i}"] = named(**first, conv=conv, act=nn.ReLU(), **last)
        inputs = outputs
    stages["fc1"] = named(pool=GlobalMean(), drop=nn.Dropout(dropout), fc=nn.Linear(256, 4096), act=nn.ReLU())
    stages["fc2"] = named(drop=nn.Dropout(dropout), fc=nn.Linear(4096, 4096), act=nn.ReLU())
    stages["head"] = nn.Linear(4096, spec.classes)
    return Backbone(stages, {"shallow": "conv1", "middle": "conv2", "deep": "conv5"})
