"""What a mechanism says of its releases beyond their mean, so that no attack takes a mask for noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.aside import aside
from splitpriv.defenses.parts.held import probing
from splitpriv.defenses.parts.sight import hides

DRAWN = 8  # images of which a part is asked twice
SAMPLED = 100_000  # entries by which it is told which arrived
CERTAIN = (0.5, 0.9, 0.99, 0.999, 1.0)  # shares of those that did not arrive which a bound may catch
PLAIN = 0.95  # share of both kinds, those that arrived and those that did not, from which on a bound tells them apart
CLEAR = 100.0  # sharpness (`_sharpness`) from which on a law that is half as sharp as the mean will do
BETTER = 1.1  # times as sharp as the mean a law has to be otherwise
Gap = Callable[[Tensor, Tensor], Tensor]
Shown = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Law:
    """What `link`, the last to say more of its releases than their mean, says of a chain's releases.

    Where later links change what it sends (noise or rounding after a mask), entries within `bound` of `centre` did not
    arrive; without later links `bound` is None, and the link says so itself.
    """

    link: Defense
    centre: float = 0.0
    bound: float | None = None

    def present(self, released: Tensor) -> Tensor:
        """True where an entry of a release (N, *shape) says anything; the rest is taken for 0."""
        if self.bound is None:
            return self.link.present(released)
        return (released - self.centre).abs() > self.bound


def changing(model: Defended) -> list[Defense]:
    """The links that change z, in order."""
    return [d for _, d in model.defenses() if type(d).after_edge is not Defense.after_edge]


def tells(link: Defense) -> bool:
    """Whether a link says more of its releases than their mean."""
    return (type(link).gap, type(link).present) != (Defense.gap, Defense.present)


def law(model: Defended, x: Tensor, draws: int = 1, shown: Shown | None = None) -> Law | None:
    """The law of means of `draws` releases of the chain as they are `shown` to the adversary, where a link has one.

    x (n, C, H, W): images of the adversary's own. Where other links follow the one that tells, hide what it sends or
    tell of theirs, too, the images show how to see through these, and which law tells images apart best; None if the
    mean release does.
    """
    links = changing(model)
    telling = [i for i, link in enumerate(links) if tells(link)]
    if not telling:
        return None
    if telling == [len(links) - 1] and not any(map(hides, links)):
        return Law(links[-1])
    with aside(), torch.no_grad():
        found = [_through(model, links[i], links[i + 1 :], x, draws, shown or (lambda r: r)) for i in telling]
    return max(found, key=lambda told: told[0])[1]


def _through(
    model: Defended, link: Defense, later: Sequence[Defense], x: Tensor, draws: int, shown: Shown
) -> tuple[float, Law | None]:
    """The sharpest law of `link` by what images x (n, C, H, W) become behind the `later` links, and its sharpness;
    none if the mean is sharper. All bounds are judged on the same releases."""

    def draw() -> tuple[Tensor, Tensor]:
        released = sent = link.after_edge(reaching(model, link, x, drawn=True))
        for following in later:
            released = following.after_edge(released)
        return sent, shown(released)

    torch.default_generator.manual_seed(0)
    if x.is_cuda:
        torch.cuda.manual_seed(0)
    sent, released = draw()
    if released.shape != sent.shape:
        return 0.0, None
    laws = _bounded(link, sent, released) if later else [Law(link)]
    laws += [Law(link, bound=0.0)] if any(map(tells, later)) else []  # what neither mask let pass
    once = torch.zeros_like(released)
    kept, seen, mean = [once.clone() for _ in laws], [once.clone() for _ in laws], once
    for i in range(draws):
        released = draw()[1] if i else released
        mean = mean + released / draws
        for j, found in enumerate(laws):
            there = found.present(released)
            kept[j], seen[j] = kept[j] + released.where(there, 0.0), seen[j] + there
    told, expected = gap(model, link), shown(model.expected(x))
    reads = [total / count.clamp_min(1) for total, count in zip(kept, seen, strict=True)]
    by_law = [_sharpness(told(x, read), told(x.roll(1, 0), read)) for read in reads]
    by_mean = _sharpness(expected - mean, expected.roll(1, 0) - mean)
    least = min(BETTER * by_mean, max(CLEAR, by_mean / 2))
    return next(((by_law[i], laws[i]) for i in sorted(range(len(laws)), key=lambda i: -by_law[i])
                 if by_law[i] >= least), (0.0, None))  # fmt: skip


def _sharpness(own: Tensor, other: Tensor) -> float:
    """How many times farther off a release another image is than its own, by squares."""
    return float(other.square().mean() / own.square().mean().clamp_min(1e-30))


def _bounded(link: Defense, sent: Tensor, released: Tensor) -> list[Law]:
    """Laws by bounds that tell what arrived of `sent`; one without a bound, where all or nothing did."""
    some = torch.randperm(sent.numel())[:SAMPLED].to(sent.device)
    there, values = sent.flatten()[some] != 0, released.flatten()[some].float()
    if there.all() or not there.any():
        return [Law(link, bound=-1.0)]
    centre = values[~there].median()
    far = (values - centre).abs()
    bounds = far[~there].quantile(torch.tensor(CERTAIN, device=far.device))
    right = [(far[~there] <= bound).double().mean() + (far[there] > bound).double().mean() for bound in bounds]
    return [Law(link, float(centre), float(b)) for b, r in zip(bounds, right, strict=True) if r >= 2 * PLAIN]


def reaching(model: Defended, last: Defense, x: Tensor, *, drawn: bool = False) -> Tensor:
    """What of images x reaches the link `last`, (N, *shape): by a draw of what comes before, or at its mean, then as
    if a mask let all pass, since what arrives is z itself."""
    z = model.features(x)
    for _, link in model.defenses():
        if link is last:
            return z
        if drawn:
            z = link.after_edge(z)
        elif type(link).present is Defense.present:
            z = link.expected(z)
    raise ValueError("the link is none of the chain's")


def gap(model: Defended, last: Defense) -> Gap:
    """From images (N, C, H, W) and releases to what of these the images do not explain, (N, *shape).

    By the law of the link `last`; what comes before it in the chain is at its mean, what comes after is seen through.
    """
    return lambda x, released: last.gap(reaching(model, last, x), released)


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
        for name, link in model.defenses():
            if not alike(link.before_edge, some(model)):
                told[name].add("draws")
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
