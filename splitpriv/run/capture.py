"""A training step as one CUDA graph: its kernels are launched at once instead of one by one.

A small network's step is bound by launching: at batch 128 some hundred operations, each of microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

WARM = 3  # steps of an epoch before it is captured: optimisers make their state, accumulators their place

Step = Callable[[Tensor, float], None]


class Captured:
    """`step(index, share)`, captured anew in every epoch and replayed on new images.

    What a step reads from Python, the rate and the epoch, is fixed while an epoch lasts. `steady` says that nothing
    else is read, such as how far the phase has come; where it is false, or the device is no CUDA device, steps run as
    they are. Random numbers are those of steps that run as they are: a graph draws from torch's generator.
    """

    def __init__(self, step: Step, device: torch.device, steady: bool,
                 optimizers: Iterable[torch.optim.Optimizer] = ()) -> None:  # fmt: skip
        self.step, self.on = step, steady and device.type == "cuda"
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            if self.on and "capturable" in group:  # Adam's count of steps, which is a host's number otherwise
                group["capturable"] = True
        self.begin()

    def begin(self) -> None:
        """An epoch starts."""
        self.taken = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, index: Tensor, share: float) -> None:
        """One step on the images at `index` (N,), at `share` of its epoch."""
        if not self.on:
            self.step(index, share)
        elif self.taken < WARM:
            self._aside(index, share)
        else:
            if self.graph is None:
                self._capture(index, share)
            self.index.copy_(index)
            self.graph.replay()  # type: ignore[union-attr]
        self.taken += 1

    def _aside(self, index: Tensor, share: float) -> None:
        """A step on a stream of its own, as capturing asks of the steps before it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.step(index, share)
        torch.cuda.current_stream().wait_stream(stream)

    def _capture(self, index: Tensor, share: float) -> None:
        self.index = index.clone()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step(self.index, share)
