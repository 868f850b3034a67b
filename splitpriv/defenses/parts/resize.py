"""What the rest of a chain needs when channels of z are taken out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.aside import aside
from splitpriv.types import Shape


@torch.no_grad()
def resize(model: Defended, but: Defense, shapes: Mapping[str, Shape], kept: list[int], channels: int) -> None:
    """Attach every defence again, `but` one, that no longer receives z in its shape of `shapes` (without the batch).

    What it had learnt of the `kept` of the former `channels` stays; what does not fit starts afresh, as in `attach`.
    """
    device = next(model.net.parameters()).device
    for name, defense, shape in model.shapes():
        if defense is None or defense is but or shape == shapes[name]:
            continue
        old = {key: value.clone() for key, value in defense.state_dict().items()}
        with aside():
            defense.attach(model, model.spec, shape)
        if any(value.device != device for value in defense.state_dict().values()):
            defense.to(device)
        carry(old, defense, kept, channels)
    model.refresh()


@torch.no_grad()
def carry(old: Mapping[str, Tensor], module: nn.Module, kept: list[int], channels: int) -> None:
    """Copy the state dict `old` into `module`; a dimension that runs over channels, or over channels times positions,
    is narrowed to the kept ones where the module's is."""
    for name, value in module.state_dict().items():
        before = old.get(name)
        if before is None or before.dim() != value.dim():
            continue
        for dim, (was, now) in enumerate(zip(before.shape, value.shape, strict=True)):
            times = was // channels
            if was != now and was == times * channels and now == times * len(kept):
                index = [k * times + i for k in kept for i in range(times)]
                before = before.index_select(dim, torch.tensor(index, device=before.device))
        if before.shape == value.shape:
            value.copy_(before)
