"""3x3 convolutions of maps of at most 4x4 pixels as one matrix product: on a CPU up to five times as fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

PIXELS = 16  # of a map, at most: oneDNN's own kernels win from 8x8 on
LEAST = 64  # channels on either side, below which nothing is gained in bf16
WIDE = 256  # the same in fp32, where it is the gradients that gain


class SmallMaps(TorchFunctionMode):
    """Within it, such a convolution on a CPU is computed as a matrix product where that is faster.

    That is: in bf16 (under autocast), and in fp32 where gradients are wanted, so that whatever only looks (evaluation,
    releases, exports) sees the plain convolution. The numbers are the same up to rounding. oneDNN's kernels work along
    rows of pixels, of which a map of 2x2 or 4x4 has too few: in bf16 they reach 40 to 400 GFLOP/s where the product
    reaches 400 to 600; in fp32, at 512 channels, a product and its gradients take .4 of their time at 2x2, .8 to .9
    at 4x4.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        if func is torch.conv2d and not kwargs and _fits(*args):
            if torch.is_autocast_enabled("cpu"):
                args = [None if t is None else t.bfloat16() for t in args[:3]]
            x, weight, *bias = args[:3]
            return Product.apply(x, weight, *(bias or [None]))
        return func(*args, **(kwargs or {}))


def arithmetic(net: nn.Module, precision: str, small_maps: bool) -> AbstractContextManager[Any]:
    """How networks within it are computed where `net` is; `small_maps`: whether it `gains` in fp32."""
    if precision == "fp32" and not small_maps:
        return nullcontext()  # before anything that a step of a small network would notice
    both, kind = ExitStack(), next(net.parameters()).device.type
    if precision != "fp32":
        both.enter_context(torch.autocast(kind, torch.bfloat16))
    if kind == "cpu":
        both.enter_context(SmallMaps())
    return both


def gains(net: nn.Module) -> bool:
    """Whether any of its convolutions could in fp32: every call within a mode costs a microsecond or two."""
    return any(isinstance(m, nn.Conv2d) and min(m.weight.shape[:2]) >= WIDE for m in net.modules())


def _fits(x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
          groups: int = 1) -> bool:  # fmt: skip
    one, pad = ((1, 1), 1), ((1, 1), 1)
    half = torch.is_autocast_enabled("cpu")
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return (
        x.dim() == 4 and x.shape[2] * x.shape[3] <= PIXELS and min(weight.shape[:2]) >= (LEAST if half else WIDE)
        and weight.shape[2:] == (3, 3) and stride in one and padding in pad and dilation in one and groups == 1
        and x.device.type == "cpu" and (half or learns)
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
