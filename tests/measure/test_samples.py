"""Classes that are missing, and images that are on both sides, are said."""

from __future__ import annotations

import pytest
import torch

from splitpriv.data.base import Split
from splitpriv.measure import samples


def split(images: torch.Tensor, first: int) -> Split:
    ids = torch.arange(first, first + len(images))
    return Split(images, ids % 2, ids)


@pytest.mark.parametrize(("count", "kind", "overlap", "more"), [
    (1, "copies", False, "protocol.duplicates=group"), (5, "copied", False, "protocol.duplicates=group"),
    (5, "copied", True, ""), (0, None, False, ""),
])  # fmt: skip
def test_pictures_on_both_sides_under_other_names(count: int, kind: str | None, overlap: bool, more: str) -> None:
    x = torch.rand(300, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = samples.shared({"aux": split(x[:100], 0), "victims": split(x[100 - count : 300 - count], 100)})
    assert found["pairs"]["aux-victims"] == {"named": 0, "exact": count, "near": 0}
    flags = [*samples.copies(found, overlap)]
    assert [flag.kind for flag in flags] == ([kind] if kind else [])
    for flag in flags:
        assert flag.text == f"splits overlap: aux and victims ({count} images, pixel for pixel)" and flag.remedy == more


def test_what_the_protocol_shares_by_name_is_its_own_affair_and_a_few_that_look_alike_are_none() -> None:
    x = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = samples.shared({"train": split(x, 0), "aux": split(x, 0)})
    assert found["pairs"]["train-aux"]["named"] == 50 and not [*samples.copies(found, True)]
    pair = {"pairs": {"train-aux": {"named": 0, "exact": 0, "near": 3}}, "sizes": {"train": 9000}}
    assert [flag.kind for flag in samples.copies({**pair, "sizes": {"aux": 2000}}, False)] == ["near"]
    assert not [*samples.copies({**pair, "sizes": {"aux": 4000}}, False)]


def test_classes_that_were_never_learnt_or_never_asked_about() -> None:
    missing = {"train": ["cat"], "victims": [str(i) for i in range(30)]}
    learnt, asked = samples.gaps(missing, {"train": 64, "victims": None})
    assert (learnt.text, learnt.remedy) == ("train has no image of 1 of the classes (cat)", "protocol.limit.train=null")
    assert asked.kind == "unasked" and asked.text.endswith("30 of the classes (0, 1, 2, 3, 4, 5, 6, 7 …)")
    assert asked.remedy == "" and not [*samples.gaps({"train": [], "victims": []}, {})]
