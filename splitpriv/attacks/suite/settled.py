"""Has the suite settled? What twice the effort of a member would bring to the answer, not to that member."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from splitpriv import host
from splitpriv.attacks.suite.lab import Lab, mse
from splitpriv.attacks.suite.search import Search, descend

PATH = ("decoder", "refine", "search", "fuse", "polish", "blend")  # each works on what those before it give
SEARCHES = ("search", "polish")
APART = 1.02  # errors of two starts that differ by less tell nothing


def damping(lab: Lab, search: Search) -> float:
    """By what share of it, in logarithms, a better start lowers the error of the search: 1 all of it, 0 nothing.

    From the decoder's and from the refined images of as many releases held out as the search was tuned on, along its
    own plan.
    """
    x, releases = (t[: search.tune] for t in lab.pairs("held"))
    starts = [lab.made[name](releases) for name in ("decoder", "refine")]
    ends = [descend(lab, releases, start, search.plan) for start in starts]
    weak, strong, weak_end, strong_end = host.to_host(torch.stack([mse(images, x) for images in (*starts, *ends)]))
    if not weak > APART * strong or strong_end <= 0:
        return 1.0
    return min(1.0, max(0.0, math.log(weak_end / strong_end) / math.log(weak / strong)))


def gains(answer: str, own: Mapping[str, float], damped: float) -> dict[str, float]:
    """By member that `answer` comes from, the share of the answer's error that twice that member's effort would save.

    `own`: the share that each would save of its error. On the way to the answer every search damps it. An answer that
    comes from elsewhere would be overtaken by what each saves of its own.
    """
    if answer not in PATH:
        return dict(own)
    way = [name for name in PATH[: PATH.index(answer) + 1] if name in own]
    after = {name: sum(later in SEARCHES for later in way[i + 1 :]) for i, name in enumerate(way)}
    others = {name: gain for name, gain in own.items() if name not in PATH}  # a stand-in for the edge
    return {**{name: own[name] * damped ** after[name] for name in way}, **others}
