"""The two halves as they are deployed: each one module, tensor to tensor, with nothing that its owner need not hold."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from splitpriv.defenses.base import Defended


class Edge(nn.Module):
    """What runs on the device: x (N, C, H, W) in [0, 1] -> the release (N, ...), the whole chain with fresh noise.

    A copy of the model's, on the CPU, in evaluation mode, in full precision, without gradients and without its cloud.
    """

    def __init__(self, model: Defended) -> None:
        super().__init__()
        model = _copied(model)
        model.net.cloud = nn.Sequential()
        self.model = model
        self.shape, self.image = model.shape, model.spec.image
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """The release of x."""
        return self.model.release(x)


class Cloud(nn.Module):
    """What runs on the server: release (N, ...) -> logits (N, classes), or an embedding where the task asks for one."""

    def __init__(self, model: Defended) -> None:
        super().__init__()
        self.net = _copied(model).net.cloud
        self.eval()

    def forward(self, release: Tensor) -> Tensor:
        """The answer to a release."""
        return self.net(release)


def _copied(model: Defended) -> Defended:
    """The model as it is computed on any machine: on the CPU, in float32, in the layout that exporters know."""
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    model.precision, model.channels_last, model.small_maps = "fp32", False, False
    return model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
