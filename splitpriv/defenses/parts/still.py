"""The edge as one function of an image: no running statistic moves, and nothing is dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@contextmanager
def still(edge: nn.Module, frozen: bool) -> Iterator[None]:
    """For the block `edge` is one function of the batch: no running statistic moves, nothing is dropped.

    BatchNorm keeps to its running statistics if `frozen`, or where it is not in training, else to the batch's.
    """
    random = [m for m in edge.modules() if isinstance(m, nn.Dropout) and m.training]
    norms = [m for m in edge.modules() if isinstance(m, _NORMS) and m.training]
    for norm in norms:
        norm.training, norm.track_running_stats = not frozen, frozen
    for layer in random:
        layer.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = norm.track_running_stats = True
        for layer in random:
            layer.training = True
