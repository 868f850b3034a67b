"""3x3 convolutions of maps of at most 4x4 pixels as one matrix product: on a CPU's bf16 units five times as fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

PIXELS = 16  # of a map, at most: oneDNN's own kernels win from 8x8 on
LEAST = 64  # channels on either side, below which nothing is gained


class SmallMaps(TorchFunctionMode):
    """Within it, such a convolution that autocast would compute in bf16 on a CPU is computed as a matrix product.

    The numbers are the same up to rounding. oneDNN's kernels work along rows of pixels, of which a map of 2x2 or 4x4
    has too few: they reach 40 to 400 GFLOP/s where the product reaches 400 to 600.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        if func is torch.conv2d and not kwargs and _fits(*args):
            x, weight, bias = (None if t is None else t.bfloat16() for t in args[:3])
            return Product.apply(x, weight, bias)
        return func(*args, **(kwargs or {}))


def half(kind: str) -> ExitStack:
    """Networks within it are computed in bf16 on this kind of device."""
    both = ExitStack()
    both.enter_context(torch.autocast(kind, torch.bfloat16))
    if kind == "cpu":
        both.enter_context(SmallMaps())
    return both


def _fits(x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
          groups: int = 1) -> bool:  # fmt: skip
    one, pad = ((1, 1), 1), ((1, 1), 1)
    return (
        x.dim() == 4 and x.shape[2] * x.shape[3] <= PIXELS and min(weight.shape[:2]) >= LEAST
        and weight.shape[2:] == (3, 3) and stride in one and padding in pad and dilation in one and groups == 1
        and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    )  # fmt: skip


class Product(torch.autograd.Function):
    """x (N, I, H, W) convolved with weight (O, I, 3, 3), zero-padded by 1, plus bias (O,): (N, O, H, W)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        rows = windows(x) @ weight.permute(2, 3, 1, 0).flatten(0, 2)
        return _map(rows if bias is None else rows.add_(bias), x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs, slope = ctx.needs_input_grad, grads[0]
        rows = slope.permute(0, 2, 3, 1).flatten(0, 2)
        back = _map(windows(slope) @ weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2), x) if needs[0] else None
        own = rows.T @ windows(x) if needs[1] else None
        if own is not None:
            own = own.view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)
        return back, own, rows.sum(0) if ctx.biased and needs[2] else None


def windows(x: Tensor) -> Tensor:
    """The 3x3 windows around every pixel of x (N, C, H, W), zero-padded: (N H W, 9 C)."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    return padded.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3).reshape(x.shape[0] * x[0, 0].numel(), -1)


def _map(rows: Tensor, x: Tensor) -> Tensor:
    return rows.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)
