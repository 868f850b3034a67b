"""torchvision's networks cut into named stages, with ImageNet weights where the user wants them."""

from __future__ import annotations

import pickle
import sys
from http.client import HTTPException
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.nets.layers import GlobalMean, Normalise, named, require_side
from splitpriv.nets.split import Backbone
from splitpriv.nets.start import from_file
from splitpriv.store.proof import is_published
from splitpriv.types import Spec, UserError

Weights = Literal["none", "imagenet"]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class PatchEmbedding(nn.Module):
    """Images of any size, resized to the side the transformer knows, as tokens (N, 1 + patches, D) with positions."""

    def __init__(self, normalise: Normalise, vit: Any) -> None:
        super().__init__()
        self.normalise, self.conv_proj, self.side = normalise, vit.conv_proj, vit.image_size
        self.class_token, self.pos_embedding = vit.class_token, vit.encoder.pos_embedding

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalise(x)
        size = (self.side, self.side)
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=min(x.shape[-2:]) > self.side)
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(x), -1, -1), patches], 1) + self.pos_embedding


class FirstToken(nn.Module):
    """The class token: (N, T, D) -> (N, D)."""

    def forward(self, z: Tensor) -> Tensor:
        return z[:, 0]


@from_file
def vgg16(spec: Spec, *, weights: Weights) -> Backbone:
    """VGG-16 without BatchNorm: stages conv1 .. conv13 with pool1 .. pool5 between, head. Images of at least 32x32."""
    require_side("vgg16", spec, 32)
    net = torchvision_model("vgg16", spec, weights)
    net.classifier[6] = _head(net.classifier[6], spec)
    stages: dict[str, nn.Module] = {}
    layers = list(net.features)
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            first = {} if stages else {"normalise": normalise(spec, weights)}
            number = sum(name.startswith("conv") for name in stages) + 1
            stages[f"conv{number}"] = named(**first, conv=layer, act=layers[i + 1])
        elif isinstance(layer, nn.MaxPool2d):
            stages[f"pool{sum(name.startswith('pool') for name in stages) + 1}"] = layer
    stages["head"] = named(pool=net.avgpool, flatten=nn.Flatten(), classifier=net.classifier)
    return Backbone(stages, {"shallow": "pool1", "middle": "pool3", "deep": "pool4"})


@from_file
def resnet50(spec: Spec, *, weights: Weights) -> Backbone:
    """ResNet-50 with its 7x7 stem: stages stem, block1 .. block16, head."""
    net = torchvision_model("resnet50", spec, weights)
    stages: dict[str, nn.Module] = {
        "stem": named(normalise=normalise(spec, weights), conv=net.conv1, norm=net.bn1, act=net.relu, pool=net.maxpool)
    }
    for block in chain(net.layer1, net.layer2, net.layer3, net.layer4):
        stages[f"block{len(stages)}"] = block
    stages["head"] = named(pool=GlobalMean(), fc=_head(net.fc, spec))
    return Backbone(stages, {"shallow": "block3", "middle": "block7", "deep": "block13"})


@from_file
def mobilenet_v2(spec: Spec, *, weights: Weights) -> Backbone:
    """MobileNetV2: stages stem, block1 .. block17, conv (1x1 to 1280 channels), head."""
    net = torchvision_model("mobilenet_v2", spec, weights)
    first, *blocks, last = net.features
    stages: dict[str, nn.Module] = {"stem": named(normalise=normalise(spec, weights), conv=first)}
    stages |= {f"block{i}": block for i, block in enumerate(blocks, start=1)}
    stages["conv"] = last
    stages["head"] = named(pool=GlobalMean(), drop=net.classifier[0], fc=_head(net.classifier[1], spec))
    return Backbone(stages, {"shallow": "block3", "middle": "block6", "deep": "block13"})


@from_file
def vit_b_16(spec: Spec, *, weights: Weights) -> Backbone:
    """ViT-B/16 at 224x224: stages embed, block1 .. block12, head; releases are tokens (N, 197, 768)."""
    net = torchvision_model("vit_b_16", spec, weights)
    stages: dict[str, nn.Module] = {"embed": PatchEmbedding(normalise(spec, weights), net)}
    stages |= {f"block{i}": block for i, block in enumerate(net.encoder.layers, start=1)}
    stages["head"] = named(norm=net.encoder.ln, token=FirstToken(), fc=_head(net.heads.head, spec))
    return Backbone(stages, {"shallow": "block1", "middle": "block4", "deep": "block8"})


def normalise(spec: Spec, weights: Weights) -> Normalise:
    """Pretrained weights expect ImageNet's statistics; all four networks expect three channels."""
    if spec.image[0] not in (1, 3):
        raise UserError(f"backbone: torchvision's networks take 1 or 3 channels, not {spec.image[0]}; use another one")
    return Normalise(*_IMAGENET, channels=3) if weights == "imagenet" else Normalise.of(spec, channels=3)


def torchvision_model(name: str, spec: Spec, weights: Weights) -> Any:
    models: Any = import_module("torchvision.models")
    if weights == "none":
        return models.get_model(name, weights=None, num_classes=spec.classes)
    state = _state(models.get_model_weights(name)["IMAGENET1K_V1"].url)
    model = models.get_model(name, weights=None)
    model.load_state_dict(state)
    return model


def _state(url: str) -> dict[str, Tensor]:
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    cached = file.exists()
    if cached and not is_published(file):
        raise UserError(
            f"backbone.weights: {file} is not the published file (another SHA-256); delete it and try again"
        )
    try:
        watched = sys.stderr.isatty()
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=watched, check_hash=True, weights_only=True
        )
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if cached:
            raise UserError(f"backbone.weights: {file} cannot be read ({error}); delete it and try again") from error
        raise UserError(
            f"backbone.weights: ImageNet weights could not be downloaded ({error}); "
            f"put {url} at {file}, or set backbone.weights=none"
        ) from error


def _head(layer: nn.Linear, spec: Spec) -> nn.Linear:
    """The published head, or a new one when the classes differ."""
    return layer if layer.out_features == spec.classes else nn.Linear(layer.in_features, spec.classes)
