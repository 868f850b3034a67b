"""How well was an attribute guessed, and how well can it be guessed without looking?

`guess`, `truth`, `known` are (N,) values 0 .. values - 1; `known` is the adversary's own data.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def blind(truth: Tensor) -> dict[str, float]:
    """The accuracies of the best answer that is always the same: the value that is most frequent in `truth`."""
    counts = truth.unique(return_counts=True)[1]
    return {"accuracy": float(counts.max()) / len(truth), "balanced_accuracy": 1 / len(counts)}


def balanced_accuracy(guess: Tensor, truth: Tensor, values: int) -> float:
    """The mean recall over the values that occur in `truth`; 1 / values for a guess that does not look."""
    count = torch.bincount(truth, minlength=values)
    right = torch.bincount(truth[guess == truth], minlength=values)
    return float((right / count.clamp_min(1)).double().sum() / (count > 0).sum())


def advantage(guess: Tensor, truth: Tensor, values: int) -> float:
    """Balanced accuracy less that of a blind guess, 1 / values."""
    return balanced_accuracy(guess, truth, values) - 1 / values


def auc(logits: Tensor, truth: Tensor) -> float:
    """Area under the ROC curve of each value against the rest, by softmax of logits (N, values), averaged.

    A half is chance. Ties count a half. Values that `truth` lacks, or that are all of it, do not count; without any
    other the area is nan.
    """
    share = logits.double().softmax(1)
    areas = []
    for value in truth.unique().tolist():
        one = truth == value
        if not one.all():
            areas.append(_area(share[:, value], one))
    return float(torch.stack(areas).mean()) if areas else float("nan")


def _area(score: Tensor, one: Tensor) -> Tensor:
    """Mann and Whitney's: the share of pairs that `score` puts in the right order."""
    _, place, count = score.unique(return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count.double() - 1) / 2)[place]  # mean rank of the tied
    ones, rest = one.sum(), (~one).sum()
    return (rank[one].sum() - ones * (ones + 1) / 2) / (ones * rest)


def majority(truth: Tensor, known: Tensor, values: int) -> float:
    """The accuracy on `truth` of always guessing the value that is most frequent in `known`."""
    return float((truth == torch.bincount(known, minlength=values).argmax()).double().mean())


def from_label(known: Tensor, known_y: Tensor, y: Tensor, values: int,
               best: Literal["balanced_accuracy", "accuracy"] = "balanced_accuracy") -> Tensor:  # fmt: skip
    """The best guess (N,) of the attribute from the task's label y (N,) alone, by the counts of `known`, `known_y`.

    What a release says through the label that it must carry. Best for balanced accuracy, which divides the counts by
    those of each value, or for accuracy. A label that `known_y` lacks gets the most frequent value.
    """
    classes = int(torch.cat([known_y, y]).max()) + 1
    table = torch.bincount(known_y * values + known, minlength=classes * values).reshape(classes, values).double()
    prior = table.sum(0)
    merit = table / prior.clamp_min(1) if best == "balanced_accuracy" else table
    return torch.where(table.sum(1, keepdim=True) > 0, merit, prior).argmax(1)[y]
