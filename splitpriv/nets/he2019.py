"""The two networks that He, Zhang and Lee attack (ACSAC 2019): every layer is a stage, named as they name it."""

from __future__ import annotations

from torch import nn

from splitpriv.nets.layers import Normalise, named, require_side
from splitpriv.nets.split import Backbone
from splitpriv.nets.start import from_file
from splitpriv.types import Spec

CIFAR = (64, 64, 128, 128, 128, 128)  # channels of conv11, conv12, conv21, ...


@from_file
def he2019_mnist(spec: Spec) -> Backbone:
    """Their LeNet: 5x5 convolutions of 8 and 16 channels without padding, fully connected 120-84-classes, ReLU.

    Stages conv1, relu1, pool1, conv2, relu2, pool2, fc1, fc2, head; images of at least 16x16, 28x28 in the paper.
    """
    require_side("he2019_mnist", spec, 16)
    side = [((s - 4) // 2 - 4) // 2 for s in spec.image[1:]]
    stages = {
        "conv1": named(normalise=Normalise.of(spec), conv=nn.Conv2d(spec.image[0], 8, 5)),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(8, 16, 5),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "fc1": named(flatten=nn.Flatten(), fc=nn.Linear(16 * side[0] * side[1], 120), act=nn.ReLU()),
        "fc2": named(fc=nn.Linear(120, 84), act=nn.ReLU()),
        "head": nn.Linear(84, spec.classes),
    }
    return Backbone(stages, {"shallow": "conv1", "middle": "relu2", "deep": "fc1"})


@from_file
def he2019_cifar(spec: Spec) -> Backbone:
    """Their CIFAR-10 network: six 3x3 convolutions, max-pooling after every second, 512 sigmoid units, no BatchNorm.

    Stages conv11, relu11, conv12, relu12, pool1, conv21, ... pool3, fc1, head.
    """
    require_side("he2019_cifar", spec, 8)
    stages: dict[str, nn.Module] = {}
    inputs = spec.image[0]
    for i, outputs in enumerate(CIFAR):
        name = f"{i // 2 + 1}{i % 2 + 1}"
        conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        stages[f"conv{name}"] = conv if i else named(normalise=Normalise.of(spec), conv=conv)
        stages[f"relu{name}"] = nn.ReLU()
        if i % 2:
            stages[f"pool{i // 2 + 1}"] = nn.MaxPool2d(2)
        inputs = outputs
    values = inputs * (spec.image[1] // 8) * (spec.image[2] // 8)
    stages["fc1"] = named(flatten=nn.Flatten(), fc=nn.Linear(values, 512), act=nn.Sigmoid())
    stages["head"] = nn.Linear(512, spec.classes)
    return Backbone(stages, {"shallow": "conv11", "middle": "relu22", "deep": "relu32"})
