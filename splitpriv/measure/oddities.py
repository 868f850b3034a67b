"""Does the release itself mislead attacks? Looks at a deployed chain, not at its numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.aside import aside


def oddities(model: Defended, x: Tensor) -> dict[str, float]:
    """What is odd in the release of images x (N, C, H, W), N >= 4; the model in evaluation mode.

    `zero_gradient`: the share of images through whose release no gradient passes. `size`: root mean square of releases;
    `variation`: that of what differs between releases, relative to `size`. `memory`: how far two releases of the same
    images, with the same random numbers, differ when others are released in between; `company`: when the other half of
    the batch is black or white; both relative to the variation.
    """
    half = len(x) // 2
    with torch.no_grad(), aside():
        before = _seeded(model, x)
        size = before.square().mean().sqrt()
        varies = (before - before.mean(0)).square().mean().sqrt()
        reference = varies.clamp_min(1e-6 * size + 1e-30)  # of a constant, rounding is no difference
        for part in (x.flip(0), 1 - x):  # what is asked in between
            model.release(part)
        memory = (_seeded(model, x) - before).square().mean().sqrt() / reference
        others = (torch.full_like(x[half:], grey) for grey in (0.0, 1.0))
        black, white = (_seeded(model, torch.cat([x[:half], other]))[:half] for other in others)
        company = (black - white).square().mean().sqrt() / reference
    measured = {"zero_gradient": _still(model, x), "size": size, "variation": varies / size.clamp_min(1e-30),
                "memory": memory, "company": company}  # fmt: skip
    return dict(zip(measured, host.to_host(torch.stack([v.double() for v in measured.values()])), strict=True))


def _seeded(model: Defended, x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return model.release(x).double()


def _still(model: Defended, x: Tensor) -> Tensor:
    """The share of images x through whose release no gradient passes, in any of a few directions."""
    with torch.enable_grad(), aside(seed=0):
        free = x.detach().clone().requires_grad_()
        release = model.release(free)
        if not release.requires_grad:
            return torch.ones((), device=x.device)
        (slope,) = torch.autograd.grad((release * torch.randn_like(release)).sum(), free, allow_unused=True)
    return torch.ones((), device=x.device) if slope is None else (slope.flatten(1) == 0).all(1).double().mean()
