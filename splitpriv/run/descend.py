"""One step down one loss, the same for a network, its adversaries and its monitor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from splitpriv.defenses.base import Defended


def descend(model: Defended, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float | None = None) -> Tensor:
    """Go a step of `optimizer` down `loss`, the gradient cut to the norm `clip`; products of matrices as in `model`.

    Return the loss; reads nothing back.
    """
    learns = [p for group in optimizer.param_groups for p in group["params"]]
    for p in learns:  # what zero_grad does, without its hooks
        p.grad = None
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(learns, clip)
    with model.autocast():  # Muon alone has such products
        optimizer.step()
    return loss
