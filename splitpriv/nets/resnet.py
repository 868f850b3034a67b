"""ResNets for small images: one stage per basic block."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.nets.layers import GlobalMean, Normalise, named
from splitpriv.nets.split import Backbone
from splitpriv.nets.start import from_file
from splitpriv.types import Count, Spec, UserError


class PadShortcut(nn.Module):
    """He et al.'s option A, without parameters: every stride-th pixel, and zeros for the new channels."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, z: Tensor) -> Tensor:
        return F.pad(z[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; `project` gives a changed shape a 1x1 convolution instead of padding."""

    def __init__(self, inputs: int, outputs: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if project and (stride != 1 or inputs != outputs):
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = named(conv=conv, norm=nn.BatchNorm2d(outputs))
        elif stride != 1 or inputs != outputs:
            self.shortcut = PadShortcut(outputs - inputs, stride)

    def forward(self, z: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(z)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(z))


@from_file
def resnet20(
    spec: Spec, *, stem_kernel: Count, stem_width: Count, widths: list[Count], strides: list[Count]
) -> Backbone:
    """ResNet-20 with parameter-free shortcuts: stages stem, block1 .. block9, head.

    `widths` and `strides`: channels of the three groups of three blocks, and the stride of each group's first block.
    """
    return _resnet20(spec, stem_kernel, stem_width, widths, strides, double=False)


@from_file
def resnet20_double(
    spec: Spec, *, stem_kernel: Count, stem_width: Count, widths: list[Count], strides: list[Count]
) -> Backbone:
    """The same with one more 3x3 convolution behind the stem, stage `extra`: CEM's double local layer for PATROL."""
    return _resnet20(spec, stem_kernel, stem_width, widths, strides, double=True)


def _resnet20(spec: Spec, kernel: int, stem: int, widths: list[int], strides: list[int], double: bool) -> Backbone:
    if len(widths) != 3 or len(strides) != 3:
        raise UserError("backbone.widths: ResNet-20 has three groups of blocks; give three widths and three strides")
    if sorted([stem, *widths]) != [stem, *widths]:
        raise UserError("backbone.widths: shortcuts pad channels; give widths that never fall, from stem_width on")
    return _resnet(spec, kernel, stem, widths, strides, blocks=3, project=False, shallow="stem", double=double)


@from_file
def resnet18(spec: Spec, *, width: Count) -> Backbone:
    """ResNet-18 with the 3x3 stem used on CIFAR: stages stem, block1 .. block8, head."""
    widths = [width, 2 * width, 4 * width, 8 * width]
    return _resnet(spec, 3, width, widths, [1, 2, 2, 2], blocks=2, project=True, shallow="block2")


def _resnet(
    spec: Spec, kernel: int, stem: int, widths: list[int], strides: list[int], blocks: int, project: bool,
    shallow: str, double: bool = False,
) -> Backbone:  # fmt: skip
    stages: dict[str, nn.Module] = {
        "stem": named(
            normalise=Normalise.of(spec),
            conv=nn.Conv2d(spec.image[0], stem, kernel, padding=kernel // 2, bias=False),
            norm=nn.BatchNorm2d(stem),
            act=nn.ReLU(),
        )
    }
    if double:
        stages["extra"] = nn.Conv2d(stem, stem, 3, padding=1, bias=False)
    inputs, first = stem, len(stages)
    for width, stride in zip(widths, strides, strict=True):
        for i in range(blocks):
            stages[f"block{len(stages) - first + 1}"] = BasicBlock(inputs, width, stride if i == 0 else 1, project)
            inputs = width
    stages["head"] = named(pool=GlobalMean(), fc=nn.Linear(inputs, spec.classes))
    backbone = Backbone(stages, {"shallow": shallow, "middle": "block4", "deep": "block6"})
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone
