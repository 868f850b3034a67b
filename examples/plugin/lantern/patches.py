"""A backbone: patches of the image, mixed like those of a small MLP-Mixer."""

from __future__ import annotations

from torch import nn

from splitpriv.nets.layers import GlobalMean, Normalise, named
from splitpriv.nets.split import Backbone
from splitpriv.types import Count, Spec


def patches(spec: Spec, *, size: Count, width: Count) -> Backbone:
    """Patches of `size` pixels a side as `width` channels, mixed twice over space and channels, then the head.

    The first stage normalises images in [0, 1]; the last gives logits. `cuts` says after which stages an edge may end.
    """
    stages = {
        "embed": named(normalise=Normalise.of(spec), conv=nn.Conv2d(spec.image[0], width, size, stride=size)),
        "mix1": _mixed(width),
        "mix2": _mixed(width),
        "head": named(pool=GlobalMean(), fc=nn.Linear(width, spec.classes)),
    }
    return Backbone(stages, {"shallow": "embed", "middle": "mix1", "deep": "mix2"})


def _mixed(width: int) -> nn.Module:
    return named(
        space=nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        norm=nn.BatchNorm2d(width),
        channels=nn.Conv2d(width, width, 1),
        act=nn.GELU(),
    )
