"""Does the release itself mislead attacks? Looks at a deployed chain, not at its numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.aside import aside, reseeds

BETWEEN = (2, 3, 20)  # queries before an image is asked for again: a state of any period shows in one of the gaps
DIGIT = 1e-6  # share by which two images differ that no one tells apart
FAINT = 1e-3  # of what a release changes by between images; a gradient that foretells less foretells nothing
GROUPS = 8  # of channels, through which gradients are looked for one by one
REPEATS = 8  # releases of one image in a batch, and batches of them, by which it is told what they share
DRAWS = 16  # releases whose mean is compared with what a chain says it sends on average
PATCHES = 4  # a side, which are changed one by one
LOCAL = 0.6  # share of the patches that an entry may look at on average and be said to look somewhere
SURE = 4.0  # standard errors over images that this may be off by chance

Shown = Callable[[Tensor], Tensor]


def oddities(model: Defended, x: Tensor, shown: Shown | None = None) -> dict[str, float]:
    """What is odd in the release of images x (N, C, H, W), N >= 4; the model in evaluation mode.

    `zero_gradient`: the share of what differs between releases through which no gradient passes, or next to none.
    `size`: root mean square of releases; `variation`: that of what differs between releases, relative to `size`. How
    far two releases of the same images with the same random numbers differ, relative to the variation: `memory`, when
    others are released in between; `company`, when the other half of the batch is black or white; `recorded`, when
    gradients are; `whim`, when the images differ in a last digit, and one of them has been asked for before; `place`,
    where nothing is drawn, when images change places or come in batches of another size. `shared`: the share of its
    randomness that a batch has in common. `reseeds`: 1 where a release leaves torch with random numbers of its own
    choice. `scattered`: how far apart in the image neighbours of a map look, as a share of how far any two entries do.
    `bias`: by how much more than by chance what the chain says it sends on average is off the mean of what is `shown`
    of releases to an adversary, as a share of what varies, by squares. The last two are left out without `shown`.
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
        asked = _seeded(model, known)
        whim = torch.maximum(_apart(asked, _seeded(model, unknown)), _apart(asked, before))
        told = {"size": size, "variation": varies / size.clamp_min(1e-30), "shared": _shared(model, x[:1], reference),
                "reseeds": torch.tensor(float(reseeds(lambda: model.release(x[:1]))))}  # fmt: skip
        parts = [model.release] if shown is None else [model.release, model.expected]
        place = torch.stack([_place(part, x, reference) for part in parts]).amax()
        told |= {} if shown is None else {"bias": _bias(model, x, shown), "scattered": _scattered(model, x[:8])}
    zero, recorded = _still(model, x)
    told |= {"zero_gradient": zero, "memory": torch.stack(memories).amax() / reference,
             "company": _apart(black, white) / reference, "recorded": _apart(recorded, before) / reference,
             "whim": whim / reference, "place": place / reference}  # fmt: skip
    return dict(zip(told, host.to_host(torch.stack([v.double().to(x.device) for v in told.values()])), strict=True))


@torch.no_grad()
def sample(model: Defended, x: Tensor) -> Tensor:
    """Releases of images x (N, C, H, W) by random numbers that are always the same, to be asked for again."""
    with aside():
        return _seeded(model, x)


def drift(before: Tensor, after: Tensor) -> float:
    """How far releases of the same images by the same random numbers are apart, relative to what varies in them."""
    varies = (before - before.mean(0)).square().mean().sqrt()
    return float(_apart(before, after) / varies.clamp_min(1e-6 * before.square().mean().sqrt() + 1e-30))


def _seeded(model: Defended, x: Tensor) -> Tensor:
    torch.manual_seed(0)
    return model.release(x).double()


def _apart(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().mean().sqrt()


def _place(part: Shown, x: Tensor, reference: Tensor) -> Tensor:
    """How far answers for images x differ where these change places or come in other batches; 0 where all differ."""
    whole, again = part(x).double(), part(x).double()
    turned = part(x.flip(0)).double().flip(0)
    apart = torch.cat([part(piece).double() for piece in (x[:1], x[1:3], x[3:])])
    moved = torch.maximum(_apart(turned, whole), _apart(apart, whole))
    return torch.where(_apart(whole, again) <= 1e-4 * reference, moved, 0.0)


def _shared(model: Defended, image: Tensor, reference: Tensor) -> Tensor:
    """The share of the variance of releases of an image (1, C, H, W) that those of one batch have in common."""
    calls = torch.stack([model.release(image.repeat(REPEATS, 1, 1, 1)).double() for _ in range(REPEATS)])
    within, between = calls.var(1).mean(), calls.var(0).mean()
    return torch.where(between > (1e-3 * reference).square(), 1 - within / between.clamp_min(1e-30), 0.0)


def _scattered(model: Defended, x: Tensor) -> Tensor:
    """See `scattered` of `oddities`, by what a change of one patch after the other changes; 0 where a release is no map
    of 4 x 4 places or more, or looks everywhere from all of them."""
    sent = _seeded(model, x)
    if not _is_map(sent) or min(x.shape[-2:]) < PATCHES:
        return torch.zeros((), device=x.device)
    known = _map(sent)
    rows, columns = (torch.arange(n, device=x.device) * PATCHES // n for n in x.shape[-2:])
    moved = []
    for patch in range(PATCHES**2):
        inside = (rows == patch // PATCHES)[:, None] & (columns == patch % PATCHES)
        moved.append((_map(_seeded(model, torch.where(inside, 1 - x, x))) - known).square().mean(0))
    seen = torch.stack(moved)  # (patches, C, H, W)
    total = seen.sum(0)
    share = seen / total.clamp_min(1e-30)
    steps = torch.arange(PATCHES, device=x.device, dtype=share.dtype)
    places = torch.stack(torch.meshgrid(steps, steps, indexing="ij")).flatten(1)  # (2, patches)
    at = torch.einsum("dp,pchw->dchw", places, share)  # where each entry looks
    weight = (total > 1e-6 * total.mean()).to(share.dtype)
    mean = (at * weight).flatten(1).sum(1) / weight.sum().clamp_min(1)
    apart = 2 * ((at - mean.view(2, 1, 1, 1)).square().sum(0) * weight).sum() / weight.sum().clamp_min(1)
    near, pairs = torch.zeros_like(apart), torch.zeros_like(apart)
    for axis in (1, 2):
        both = weight * weight.roll(1, axis)
        both.narrow(axis, 0, 1).zero_()  # no neighbour beyond the edge
        near += ((at - at.roll(1, axis + 1)).square().sum(0) * both).sum()
        pairs += both.sum()
    looked = (1 / share.square().sum(0).clamp_min(1e-30) * weight).sum() / weight.sum().clamp_min(1) / PATCHES**2
    return torch.where(looked < LOCAL, near / pairs.clamp_min(1) / apart.clamp_min(1e-12), 0.0)


def _is_map(release: Tensor) -> bool:
    """Whether a release is one of at least 4 x 4 places, tokens in a square among them."""
    if release.dim() == 3:
        side = int(release.shape[1] ** 0.5)
        return side >= PATCHES and release.shape[1] - side**2 < 2  # a class token beside them
    return release.dim() == 4 and min(release.shape[2:]) >= PATCHES


def _map(release: Tensor) -> Tensor:
    """A release as (N, C, H, W), the class token left out."""
    if release.dim() == 4:
        return release
    side = int(release.shape[1] ** 0.5)
    return release[:, -(side**2) :].transpose(1, 2).unflatten(2, (side, side))


def _bias(model: Defended, x: Tensor, shown: Shown) -> Tensor:
    """See `bias` of `oddities`."""
    draws = torch.stack([shown(model.release(x)).double().flatten(1) for _ in range(DRAWS)])
    mean, noise = draws.mean(0), draws.var(0).mean(1) / DRAWS
    off = (shown(model.expected(x)).double().flatten(1) - mean).square().mean(1) - noise
    varies = (mean.var(0).mean() - noise.mean()).clamp_min(1e-9 * mean.square().mean() + 1e-30)
    return (off.mean() - SURE * off.std() / len(x) ** 0.5).clamp_min(0) / varies


def _still(model: Defended, x: Tensor) -> tuple[Tensor, Tensor]:
    """The share of what releases of images x change by through which no gradient passes in a random direction, or one
    that foretells next to nothing of what the release of another image is like; and releases while gradients are
    recorded."""
    with torch.enable_grad(), aside():
        free = x.detach().clone().requires_grad_()
        release = _seeded(model, free)
    if not release.requires_grad:
        return torch.ones((), device=x.device), release
    other = x.roll(1, 0)
    with torch.no_grad(), aside():
        change = _seeded(model, other) - release
        still, weights = [], []
        for part in torch.arange(release.shape[1], device=x.device).chunk(GROUPS):
            way = torch.zeros_like(release)
            way[:, part] = torch.randn_like(release[:, part])
            (slope,) = torch.autograd.grad(release, free, way, retain_graph=True, allow_unused=True)
            slope = torch.zeros_like(free) if slope is None else slope
            foretold = (slope.double() * (other - x)).flatten(1).sum(1).abs()
            faint = foretold < FAINT * (change * way).flatten(1).sum(1).abs()
            still.append((slope.flatten(1) == 0).all(1) | faint)
            weights.append(change[:, part].square().flatten(1).sum(1) + 1e-30)
    weight = torch.stack(weights)
    return ((torch.stack(still) * weight).sum(0) / weight.sum(0)).mean(), release.detach()
