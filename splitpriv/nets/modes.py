"""Networks in evaluation mode for a while, and what stays in another mode than it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the block; afterwards every part is as it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def contrary(net: nn.Module) -> dict[bool, list[str]]:
    """For training (True) and evaluation, the parts that a `train` of whoever wrote the network leaves in the other."""
    found = {}
    with evaluating(net):
        for mode in (True, False):
            net.train(mode)
            found[mode] = [name for name, part in net.named_modules() if name and part.training != mode]
    return found


def manner(net: nn.Module) -> dict[str, list[str]]:
    """What a key holds of how a network learns, where there is any: `frozen` weights, and parts that stay in
    evaluation mode in training (`resting`), or the other way round (`waking`)."""
    found = contrary(net)
    frozen = [name for name, p in net.named_parameters() if not p.requires_grad]
    told = {"frozen": frozen, "resting": found[True], "waking": found[False]}
    return {key: names for key, names in told.items() if names}
