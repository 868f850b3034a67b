"""Are the images of a run the right ones? What its splits share, which classes are missing, and flags for both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch

from splitpriv.data.base import Split
from splitpriv.data.copies import Copies
from splitpriv.measure.flags import Flag, raised

NAMED = 8  # classes that a flag names
MANY = 0.01  # share of a split from which copies make a number memory
ALIKE = 0.001  # share of a split from which images that look alike are worth a doubt


def shared(splits: Mapping[str, Split]) -> dict[str, Any]:
    """By pair of splits "a-b": how many images of b are in a by name ("named"), pixel for pixel ("exact"), and how many
    more look like one that is ("near"); and the `sizes` of the splits.
    """
    pictures = Copies(splits)
    pairs: dict[str, Any] = {}
    for a, b in combinations(splits, 2):
        exact, near = pictures.shared(a, b)
        named = int(torch.isin(splits[b].ids, splits[a].ids).sum())
        pairs[f"{a}-{b}"] = {"named": named, "exact": exact, "near": near}
    return {"pairs": pairs, "sizes": {name: len(split) for name, split in splits.items()}}


def copies(facts: Mapping[str, Any], overlap: bool) -> Iterator[Flag]:
    """Images that are on both sides under different names; those of one name are the protocol's affair, which may have
    an `overlap`.
    """
    more = "" if overlap else "protocol.duplicates=group"
    for pair, counts in facts["pairs"].items():
        a, b = pair.split("-")
        size, hidden = facts["sizes"][b], counts["exact"] - counts["named"]
        if hidden > 0:
            yield raised("copied" if hidden > MANY * size else "copies", f"{a} and {b}", count=hidden, more=more)
        if counts["near"] > ALIKE * size:
            yield raised("near", f"{a} and {b}", count=counts["near"], more=more)


def gaps(missing: Mapping[str, Sequence[str]], limits: Mapping[str, int | None]) -> Iterator[Flag]:
    """Classes never learnt (missing from train) or never asked about, by split; its `limits` may be to blame."""
    for split, classes in missing.items():
        if classes:
            named = ", ".join(classes[:NAMED]) + (" …" if len(classes) > NAMED else "")
            more = f"protocol.limit.{split}=null" if limits.get(split) is not None else ""
            kind = "unlearnt" if split == "train" else "unasked"
            yield raised(kind, split, count=len(classes), named=named, more=more)
