"""Does the release itself mislead attacks? Looks at a deployed chain, not at its numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.aside import aside

BETWEEN = (2, 3, 20)  # queries before an image is asked for again: a state of any period shows in one of the gaps
DIGIT = 1e-6  # share by which two images differ that no one tells apart
FAINT = 1e-3  # of what a release changes by between images; a gradient that foretells less foretells nothing


def oddities(model: Defended, x: Tensor) -> dict[str, float]:
    """What is odd in the release of images x (N, C, H, W), N >= 4; the model in evaluation mode.

    `zero_gradient`: the share of images through whose release no gradient passes, or next to none. `size`: root mean
    square of releases; `variation`: that of what differs between releases, relative to `size`. How far two releases of
    the same images with the same random numbers differ, relative to the variation: `memory`, when others are released
    in between; `company`, when the other half of the batch is black or white; `whim`, when the images differ in a last
    digit, and one of them has been asked for before.
    """
    half = len(x) // 2
    with torch.no_grad(), aside():
        before = _seeded(model, x)
        size = before.square().mean().sqrt()
        varies = (before - before.mean(0)).square().mean().sqrt()
        reference = varies.clamp_min(1e-6 * size + 1e-30)  # of a constant, rounding is no difference
        others = (torch.full_like(x[half:], grey) for grey in (0.0, 1.0))
        black, white = (_seeded(model, torch.cat([x[:half], other]))[:half] for other in others)
        memories = []
        for count in BETWEEN:
            for number in range(count):  # what is asked in between
                model.release((x.flip(0) if number % 2 else 1 - x)[: len(x) if number < 2 else 4])
            memories.append(_apart(_seeded(model, x), before))
        known, unknown = x * (1 - DIGIT), x * (1 - 2 * DIGIT)
        model.release(known)
        whim = _apart(_seeded(model, known), _seeded(model, unknown))
    told = {"zero_gradient": _still(model, x), "size": size, "variation": varies / size.clamp_min(1e-30)}
    told |= {"memory": torch.stack(memories).amax() / reference, "company": _apart(black, white) / reference,
             "whim": whim / reference}  # fmt: skip
    return dict(zip(told, host.to_host(torch.stack([v.double() for v in told.values()])), strict=True))


def _seeded(model: Defended, x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return model.release(x).double()


def _apart(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().mean().sqrt()


def _still(model: Defended, x: Tensor) -> Tensor:
    """The share of images x through whose release no gradient passes in a random direction, or one that foretells
    next to nothing of what the release of another image is like."""
    with torch.enable_grad(), aside():
        free = x.detach().clone().requires_grad_()
        release = _seeded(model, free)
        if not release.requires_grad:
            return torch.ones((), device=x.device)
        way = torch.randn_like(release)
        (slope,) = torch.autograd.grad((release * way).sum(), free, allow_unused=True)
        if slope is None:
            return torch.ones((), device=x.device)
    with torch.no_grad(), aside():
        other = x.roll(1, 0)
        change = ((_seeded(model, other) - release) * way).flatten(1).sum(1).abs()
        foretold = (slope.double() * (other - x)).flatten(1).sum(1).abs()
    return ((slope.flatten(1) == 0).all(1) | (foretold < FAINT * change)).double().mean()
