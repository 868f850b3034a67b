"""RoLSS: residual networks without their last skip connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import Count, Shape, Spec, UserError


class Scaled(nn.Module):
    """A skip connection times `scale`; nothing of it at 0."""

    def __init__(self, skip: nn.Module, scale: float) -> None:
        super().__init__()
        self.skip = skip if scale else nn.Identity()
        self.scale = scale

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * self.skip(z) if self.scale else z.new_zeros(())


class Rolss(Defense):
    """Removal of the last skip connections (Koh et al., ECCV 2024, arXiv 2409.01696; numbers of equations not at hand):
    a block's F(z) + skip(z) becomes F(z) + scale·skip(z), scale 0 for their RoLSS, between 0 and 1 for their SSF, in
    training and at deployment.

    `side` network: the last `blocks` residual blocks of all, the paper's last stage, against attacks through the
    answers; edge: the last ones before the cut, through which an attack on releases goes. Blocks are those with a
    `shortcut` or torchvision's and timm's `downsample`. Raises UserError where there are fewer.

    Open: the paper removes concatenations and the skips of transformers, too, and trains in two stages (TTS) where
    accuracy suffers; neither is here.
    """

    strength: ClassVar[Mapping[str, str]] = {"scale": "interval(0.0, 1.0)"}

    def __init__(self, *, side: Literal["edge", "network"], blocks: Count,
                 scale: Annotated[float, Interval(ge=0, le=1)]) -> None:  # fmt: skip
        super().__init__()
        self.side, self.blocks, self.scale = side, blocks, scale
        self.adaptive = frozenset({"network"} if side == "network" else ())  # type: ignore[misc]

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        part = model.net.edge if self.side == "edge" else model.net
        found = [module for module in part.modules() if _skip(module)]
        if len(found) < self.blocks:
            raise UserError(f".blocks: {self.blocks}, but the {self.side} has {len(found)} residual blocks; lower it, "
                            "use a residual network, as resnet20, or cut it deeper")  # fmt: skip
        for block in found[-self.blocks :]:
            name = _skip(block)
            setattr(block, name, Scaled(getattr(block, name) or nn.Identity(), self.scale))


def _skip(module: nn.Module) -> str:
    """What a residual block calls its skip connection; empty if it is none."""
    if isinstance(getattr(module, "shortcut", None), nn.Module):
        return "shortcut"
    return "downsample" if hasattr(module, "downsample") and hasattr(module, "conv1") else ""
