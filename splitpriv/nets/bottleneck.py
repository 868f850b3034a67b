"""The layer pair across the cut: the edge squeezes what leaves the device, the cloud mirrors it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args

from torch import Tensor, nn

from splitpriv.nets.layers import named
from splitpriv.types import Shape, UserError

Activation = Literal["none", "relu", "sigmoid", "batchnorm"]
_KEYS = ("channels", "kernel", "stride", "activation")


class TokenBatchNorm(nn.BatchNorm1d):
    """BatchNorm over the features of tokens (N, T, D)."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z.transpose(1, 2)).transpose(1, 2)


def bottleneck_pair(shape: Shape, settings: Mapping[str, Any]) -> tuple[nn.Sequential, nn.Module | None]:
    """What the edge appends to a feature of `shape` (without the batch), and what the cloud begins with, if anything.

    `channels` null keeps the feature and appends the activation alone. `kernel` and `stride` shape convolutions; flat
    (D,) and token (T, D) features use linear layers and ignore them. The cloud's layer restores `shape` exactly.
    """
    problems = _problems(settings)
    if problems:
        raise UserError(*problems)
    channels, kernel, stride = settings["channels"], settings["kernel"], settings["stride"]
    layers: dict[str, nn.Module] = {}
    expand: nn.Module | None = None
    if channels is not None and len(shape) == 3:
        layers["conv"] = nn.Conv2d(shape[0], channels, kernel, stride, kernel // 2)
        expand = _mirror(shape, channels, kernel, stride)
    elif channels is not None:
        layers["linear"] = nn.Linear(shape[-1], channels)
        expand = nn.Linear(channels, shape[-1])
    features = channels or (shape[0] if len(shape) == 3 else shape[-1])
    activation = _activation(settings["activation"], features, len(shape))
    if activation is not None:
        layers["act"] = activation
    return named(**layers), expand


def _mirror(shape: Shape, channels: int, kernel: int, stride: int) -> nn.Module:
    """The convolution back to `shape`; transposed wherever the first one changed the size."""
    pad = kernel // 2
    if stride == 1 and kernel % 2 == 1:
        return nn.Conv2d(channels, shape[0], kernel, 1, pad)
    height, width = ((side + 2 * pad - kernel) % stride for side in shape[1:])  # rows and columns that flooring dropped
    return nn.ConvTranspose2d(channels, shape[0], kernel, stride, pad, output_padding=(height, width))


def _activation(name: Activation, features: int, dims: int) -> nn.Module | None:
    if name == "batchnorm":
        return {1: nn.BatchNorm1d, 2: TokenBatchNorm, 3: nn.BatchNorm2d}[dims](features)
    return {"none": None, "relu": nn.ReLU(), "sigmoid": nn.Sigmoid()}[name]


def _problems(settings: Mapping[str, Any]) -> list[str]:
    """One line for every unknown, missing or impossible setting."""
    problems = []
    for key in settings:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            problems.append(f"split.bottleneck.{key}: unknown key{hint}; the keys are {list(_KEYS)}")
    for key in _KEYS:
        if key not in settings:
            problems.append(f"split.bottleneck.{key}: missing; give all of {list(_KEYS)}")
        elif key == "activation":
            if settings[key] not in get_args(Activation):
                problems.append(
                    f"split.bottleneck.activation: {settings[key]!r}; use one of {list(get_args(Activation))}"
                )
        elif not _is_count(settings[key]) and not (key == "channels" and settings[key] is None):
            extra = ", or null to append the activation alone" if key == "channels" else ""
            problems.append(f"split.bottleneck.{key}: {settings[key]!r}; give a whole number of at least 1{extra}")
    return problems


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
