"""What the edge holds in memory for one image: the weights that it reads, and its values at their peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):
    """Watches the storages that operations make and those of `weights` that they read."""

    def __init__(self, weights: Mapping[int, int]) -> None:
        super().__init__()
        self.weights, self.read = weights, set[int]()  # by address: bytes
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.read |= {at for at in map(_address, _tensors((args, kwargs))) if at in self.weights}
        made = func(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            at, storage = _address(tensor), tensor.untyped_storage()
            if at not in self.live and at not in self.weights and storage.nbytes():
                self.live[at] = storage.nbytes()
                weakref.finalize(storage, self.live.pop, at, None)
        self.peak = max(self.peak, sum(self.live.values()))
        return made


def memory(module: torch.nn.Module, call: Callable[[], Any]) -> dict[str, float]:
    """Of a `call` of `module`: bytes of the weights that it reads, and of all values that it holds at once, at most."""
    held = [*module.parameters(), *module.buffers()]
    meter = Meter({_address(value): value.untyped_storage().nbytes() for value in held if value.numel()})
    with meter:
        call()
    return {
        "edge_weight_bytes": float(sum(meter.weights[at] for at in meter.read)),
        "edge_peak_bytes": float(meter.peak),
    }


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
