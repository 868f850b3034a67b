"""How strongly what reaches a link of a chain changes with the image."""

from __future__ import annotations

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.still import still


def slope(model: Defended, link: Defense, x: Tensor, graph: bool) -> tuple[Tensor, Tensor]:
    """tr(JᵀJ) (N,) and z (N, ...) at images x (N, C, H, W): z is what reaches `link` without noise, J = dz/dx.

    The trace is Hutchinson's from one vector v of random signs, |Jᵀv|², without bias. Statistics of BatchNorm are the
    running ones, so that every image stands for itself. With `graph` both carry gradients of the network.
    """
    with torch.enable_grad(), still(model.net.edge, frozen=True):
        free = x.detach().requires_grad_()
        z = model.features(free)
        for _, defense in model.defenses():
            if defense is link:
                break
            z = defense.expected(z)
        signs = 2.0 * torch.randint(0, 2, z.shape, device=z.device) - 1
        (back,) = torch.autograd.grad((z * signs).sum(), free, create_graph=graph)
    return back.flatten(1).square().sum(1), z
