"""What a mechanism says of its releases beyond their mean, so that no attack takes a mask for noise."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from splitpriv.defenses.base import Defended, Defense

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
    return model.input_is_fixed and model.noise_std > 0 and all(d.additive_gaussian for d in changing(model))
