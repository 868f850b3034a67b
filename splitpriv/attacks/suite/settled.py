"""Has the suite settled? What twice a member's effort would bring to the answer, and twice the aux."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from splitpriv import host
from splitpriv.attacks.suite.lab import Found, Lab, Once, mse
from splitpriv.attacks.suite.members import Trained
from splitpriv.attacks.suite.plateau import GAIN

PATH = ("decoder", "refine", "search", "fuse", "polish", "blend")  # each works on what those before it give
IMAGES = 64  # held out of aux, on which that is seen
APART = 1.02  # errors of a member with and without its last stretch that differ by less tell nothing


def gains(lab: Lab, answer: str) -> dict[str, float]:
    """By member, the share of the answer's error that twice that member's effort would save.

    It is the share that its last doubling took off its own error, times what of such a gain reaches the answer. An
    answer that comes from elsewhere would be overtaken by what each saves of its own, and where no longer search was
    tried nothing is known.
    """
    told = {name: getattr(made, "report", {}) for name, made in {**lab.made, "standin": lab.edge}.items()}
    own = {name: report["gain"] for name, report in told.items() if "gain" in report}
    if answer not in PATH or own["search"] == 1:
        return own
    return {name: gain * (passed(lab, name, answer) if gain > GAIN else 1.0) for name, gain in own.items()}


def passed(lab: Lab, name: str, answer: str) -> float:
    """What share of a gain of member `name` reaches the answer, in logarithms: 1 all of it, 0 nothing.

    As its last stretch, while its rate fell, shows on images held out of aux: with the member as it was before, and all
    that builds on it as it is. Those have learned from the better member, so the share is rather too high.
    """
    member = lab.made.get(name)
    if not isinstance(member, Once) or not isinstance(member.found, Trained):
        return 1.0
    x, releases = (t[:IMAGES] for t in lab.pairs("held"))
    now = errors(lab, (name, answer), releases, x)
    with instead(member, member.found.before()):
        before = errors(lab, (name, answer), releases.clone(), x)  # a clone: members remember answers by their question
    if not before[0] > APART * now[0] or min(now) <= 0:
        return 1.0
    return min(1.0, max(0.0, math.log(before[1] / now[1]) / math.log(before[0] / now[0])))


def gain_from_aux(seen: float, apart: float) -> float:
    """The share of the error on images `apart` that twice the aux would take away, extrapolated from the `seen` ones'.

    What learned images are rebuilt better by is twice what aux is short of, in proportion to 1 / images, as far as
    errors are parabolas about their minima (Akaike 1974).
    """
    return max(0.0, (apart - seen) / (4 * max(apart, 1e-12)))


def errors(lab: Lab, names: tuple[str, ...], releases: Tensor, x: Tensor) -> list[float]:
    """MSE of what members make of the releases (N, *shape) of the images x (N, C, H, W)."""
    return [host.to_host(mse(lab.made[name](releases), x)[None])[0] for name in names]


@contextmanager
def instead(member: Once, other: Found) -> Iterator[None]:
    """Let all that builds on `member` build on `other`."""
    kept, member.found = member.found, other
    try:
        yield
    finally:
        member.found = kept
