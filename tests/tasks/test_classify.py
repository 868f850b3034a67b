"""What classification is held against, and which classes it never saw."""

from __future__ import annotations

import pytest
import torch

from splitpriv.data.base import Split
from splitpriv.tasks.classify import Classify
from splitpriv.types import Spec


def labelled(*y: int) -> Split:
    return Split(torch.zeros(len(y), 1, 2, 2), torch.tensor(y), torch.arange(len(y)))


def test_the_floor_is_the_most_frequent_class_of_those_who_are_tested() -> None:
    splits = {"train": labelled(0, 0, 2), "victims": labelled(1, 1, 1, 0)}
    task = Classify(smoothing=0.0)
    assert task.chance(splits) == pytest.approx({"accuracy": 0.75, "balanced_accuracy": 0.5})
    assert task.tested(splits) == 4
    assert task.gaps(splits, Spec((1, 2, 2), 4)) == {"train": [1, 3], "victims": [2, 3]}
