"""VGG-11 with BatchNorm and VGG-16 without for small images."""

from __future__ import annotations

from typing import Literal

from torch import nn

from splitpriv.nets.layers import GlobalMean, Normalise, named, require_side
from splitpriv.nets.split import Backbone
from splitpriv.nets.start import from_file
from splitpriv.types import Count, Rate, Spec

_VGG16 = (2, 2, 3, 3, 3)  # convolutions before each pool
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


@from_file
def vgg16_cloak(spec: Spec) -> Backbone:
    """VGG-16 for 32x32 images, as Cloak trains it on UTKFace (Mireshghallah et al. 2021, A.4): thirteen convolutions
    without BatchNorm, and a head 512-256-256-classes without dropout. Stages conv1 .. conv13 with pool1 .. pool5
    between, fc1, fc2, head.

    Drawn as torchvision draws VGG (He et al. 2015): PyTorch's own start dies out over thirteen layers. Open: Cloak's
    start, which may be VGG-Face's weights; `weights` takes a file. Images of at least 32x32.
    """
    require_side("vgg16_cloak", spec, 32)
    stages: dict[str, nn.Module] = {}
    inputs, convs = spec.image[0], 0
    for block, count in enumerate(_VGG16, start=1):
        outputs = min(64 << (block - 1), 512)
        for _ in range(count):
            convs += 1
            first = {} if stages else {"normalise": Normalise.of(spec)}
            stages[f"conv{convs}"] = named(**first, conv=nn.Conv2d(inputs, outputs, 3, padding=1), act=nn.ReLU())
            inputs = outputs
        stages[f"pool{block}"] = nn.MaxPool2d(2)
    stages["fc1"] = named(pool=GlobalMean(), fc=nn.Linear(512, 256), act=nn.ReLU())
    stages["fc2"] = named(fc=nn.Linear(256, 256), act=nn.ReLU())
    stages["head"] = nn.Linear(256, spec.classes)
    backbone = Backbone(stages, {"shallow": "pool1", "middle": "pool3", "deep": "pool4"})
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return backbone
