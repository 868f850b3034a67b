"""Does a classifier treat groups alike? Gaps of its guesses between the values of an attribute.

`guess`, `truth`: (N,) classes; `group`: (N,) values of the attribute. With more than two groups a gap is the largest
between any two of them. Groups without members in question are left out; with fewer than two left the gap is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def demographic_parity(guess: Tensor, group: Tensor, classes: int, groups: int) -> float:
    """The gap of P(guess = c | group), in [0, 1], of the class c where it is largest; for two classes both have it."""
    everyone = torch.ones_like(guess, dtype=torch.bool)
    return float(torch.stack([_gap(guess == c, everyone, group, groups) for c in range(classes)]).max())


def equalised_odds(guess: Tensor, truth: Tensor, group: Tensor, classes: int, groups: int) -> float:
    """The gaps of P(guess = y | group, truth = y), summed over the classes y, in [0, classes].

    The sum of Madras et al. 2018, as in Cloak, where it is called equal opportunity; other libraries take a maximum.
    """
    return float(_recall_gaps(guess, truth, group, classes, groups).sum())


def equal_opportunity(guess: Tensor, truth: Tensor, group: Tensor, classes: int, groups: int) -> float:
    """The gap of P(guess = 1 | group, truth = 1), in [0, 1]; with more than two classes, that of the worst class."""
    gaps = _recall_gaps(guess, truth, group, classes, groups)
    return float(gaps[1] if classes == 2 else gaps.max())


def _recall_gaps(guess: Tensor, truth: Tensor, group: Tensor, classes: int, groups: int) -> Tensor:
    return torch.stack([_gap(guess == y, truth == y, group, groups) for y in range(classes)])


def _gap(event: Tensor, among: Tensor, group: Tensor, groups: int) -> Tensor:
    """Largest less smallest share of `event` over the groups, each counted within `among`."""
    members = torch.stack([(group == g) & among for g in range(groups)])
    count = members.sum(1)
    share = (members & event).sum(1).double() / count.clamp_min(1)
    present = count > 0
    gap = share.masked_fill(~present, 0).max() - share.masked_fill(~present, 1).min()
    return gap.clamp_min(0)
