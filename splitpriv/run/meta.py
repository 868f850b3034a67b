"""Networks that are only looked at: on the meta device, where nothing has a value and so nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FILLS = frozenset({Tensor.uniform_, Tensor.normal_, Tensor.bernoulli_, Tensor.fill_, Tensor.zero_})
LIKE = frozenset({torch.randn_like, torch.rand_like})


class _Unfilled(TorchFunctionMode):
    """On the meta device torch draws random numbers by decompositions in Python: a quarter of what a check takes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        told = kwargs or {}
        starts = getattr(func, "__module__", None) == "torch.nn.init" and func.__name__.endswith("_")
        if starts or func in FILLS or func in LIKE:
            tensor = args[0] if args else told.get("tensor")
            if isinstance(tensor, Tensor) and tensor.device.type == "meta":
                told = {k: v for k, v in told.items() if k != "generator"}
                return torch.empty_like(tensor, **told) if func in LIKE else tensor
        return func(*args, **told)


@contextmanager
def looking() -> Iterator[None]:
    """What is built within the block has shapes alone."""
    with torch.device("meta"), _Unfilled():
        yield
