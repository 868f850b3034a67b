"""What a mechanism says of its releases beyond their mean, so that no attack takes a mask for noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.held import probing

DRAWN = 8  # images of which an edge is asked twice
Gap = Callable[[Tensor, Tensor], Tensor]


def changing(model: Defended) -> list[Defense]:
    """The links that change z, in order."""
    return [d for _, d in model.defenses() if type(d).after_edge is not Defense.after_edge]


def law(model: Defended) -> Defense | None:
    """The last link that changes z, where it says more of its releases than their mean and nothing hides these."""
    links = changing(model)
    told = links and type(links[-1]).gap is not Defense.gap
    return links[-1] if told and all(type(d).reading is Defense.reading for d in links) else None


def gap(model: Defended, last: Defense) -> Gap:
    """From images (N, C, H, W) and releases to what of these the images do not explain, (N, *shape).

    By the law of the `last` link that changes z; what comes before it in the chain is at its mean.
    """

    def left(x: Tensor, released: Tensor) -> Tensor:
        z = model.features(x)
        for _, defense in model.defenses():
            if defense is last:
                return last.gap(z, released)
            z = defense.expected(z)
        raise ValueError("the link is none of the chain's")

    return left


def is_gaussian_channel(model: Defended) -> bool:
    """Whether the release is the edge's z plus Gaussian noise and nothing else, as bounds on I(x; z) assume."""
    return model.noise_std > 0 and all(d.additive_gaussian for d in changing(model)) and input_is_fixed(model)


def input_is_fixed(model: Defended) -> bool:
    """Whether `features` is the same on every call, so that it may be cached: no defence acts before the edge, and the
    edge draws nothing."""
    return all(type(d).before_edge is Defense.before_edge for _, d in model.defenses()) and edge_is_fixed(model)


def edge_is_fixed(model: Defended) -> bool:
    """Whether the edge answers alike twice, in evaluation: in a network of one's own anything may be random."""
    device = next(model.net.parameters()).device
    with probing(model):
        x = torch.rand(DRAWN, *model.spec.image).to(device)
        one, two = (model.net.edge(x).float() for _ in range(2))
    return torch.allclose(one, two, rtol=1e-5, atol=1e-6 * float(one.abs().max()))
