"""Stand-ins for an edge that the adversary does not hold: image (N, C, H, W) -> what looks like a release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import nn

from splitpriv.nets.decoders import to_size
from splitpriv.nets.layers import Normalise
from splitpriv.nets.split import Backbone, SplitNet
from splitpriv.nets.start import fresh
from splitpriv.types import Shape, Spec, UserError


def plain(spec: Spec, shape: Shape, width: int) -> nn.Module:
    """Convolutions of `width` channels from the image to a release of any shape: strided ones down to the size of a
    feature map; flat releases and tokens are a linear map of what is left at 4x4."""
    target = shape if len(shape) == 3 and shape[1] * shape[2] > 1 else (width, 4, 4)
    layers, channels = to_size(spec.image, target, width, width)
    layers.append(nn.Conv2d(channels, target[0], 3, padding=1))
    if target != shape:
        layers += [nn.ReLU(), nn.Flatten(), nn.Linear(prod(target), prod(shape)), nn.Unflatten(1, shape)]
    return nn.Sequential(Normalise.of(spec), *layers)


def require_both(backbone: object | None, at: object | None) -> None:
    """Raise UserError where `either` is given a network without a cut, or a cut without a network."""
    if (backbone is None) != (at is None):
        raise UserError(".at: and backbone belong together; give both, or neither for plain convolutions")


def either(spec: Spec, shape: Shape, width: int, backbone: Callable[..., Backbone] | None, at: int | str | None,
           bottleneck: Mapping[str, Any] | None) -> nn.Module:  # fmt: skip
    """That of `cut` where a network and a cut are given, that of `plain` otherwise."""
    if backbone is None or at is None:
        return plain(spec, shape, width)
    return cut(spec, shape, backbone, at, bottleneck)


def cut(spec: Spec, shape: Shape, backbone: Callable[[Spec], Backbone], at: int | str,
        bottleneck: Mapping[str, Any] | None) -> nn.Module:  # fmt: skip
    """The edge of `backbone` cut at `at`, freshly initialised, all of which learns; raises UserError where its z is not
    of shape `shape`, or where nothing is left to learn."""
    edge = SplitNet(fresh(backbone)(spec), spec, at=at, bottleneck=bottleneck).edge.eval().requires_grad_(True)
    with torch.no_grad():
        actual = tuple(edge(torch.full((2, *spec.image), 0.5)).shape[1:])
    if not list(edge.parameters()):
        raise UserError(f".at: {at} leaves nothing on the edge, so there is nothing to stand in for; cut deeper")
    if actual != shape:
        raise UserError(f".at: {at} gives a stand-in of {actual}, but a release is {shape}; choose another cut or net")
    return edge
