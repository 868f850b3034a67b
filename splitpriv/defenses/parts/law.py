"""What a mechanism says of its releases beyond their mean, so that no attack takes a mask for noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.held import probing
from splitpriv.defenses.parts.sight import hides

DRAWN = 8  # images of which a part is asked twice
Gap = Callable[[Tensor, Tensor], Tensor]


def changing(model: Defended) -> list[Defense]:
    """The links that change z, in order."""
    return [d for _, d in model.defenses() if type(d).after_edge is not Defense.after_edge]


def law(model: Defended) -> Defense | None:
    """The last link that changes z, where it says more of its releases than their mean and nothing hides these."""
    links = changing(model)
    told = links and (type(links[-1]).gap, type(links[-1]).present) != (Defense.gap, Defense.present)
    return links[-1] if told and not any(map(hides, links)) else None


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
    with probing(model):
        return alike(model.net.edge, some(model))


def adaptive(model: Defended) -> dict[str, list[str]]:
    """For every link the kinds of attack that it must be measured by (`Attack.adapts`): those that it declares, and
    draws where it draws, whoever wrote it, unless it says how it is read. So for an edge and a cloud that draw."""
    told = {name: set(d.adaptive) for name, d in model.defenses()}
    answers = any("answers" in kinds for kinds in told.values())
    with probing(model):
        for name, defense, z in model.walk(some(model)):
            if defense is None:
                told |= {} if answers or alike(model.classify, z) else {"cloud": {"answers"}}
            elif not hides(defense) and not alike(defense.after_edge, z):
                told[name].add("draws")
    told |= {} if edge_is_fixed(model) else {"edge": {"draws"}}
    return {name: sorted(kinds) for name, kinds in told.items()}


def some(model: Defended) -> Tensor:
    """A few random images, (N, C, H, W) in [0, 1]."""
    return torch.rand(DRAWN, *model.spec.image).to(next(model.net.parameters()).device)


def alike(part: Callable[[Tensor], Tensor], given: Tensor) -> bool:
    """Whether a part answers the same twice, but for rounding."""
    one, two = part(given), part(given)
    return torch.allclose(one, two, rtol=1e-5, atol=1e-6 * float(one.abs().max()))
