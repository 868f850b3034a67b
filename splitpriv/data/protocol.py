"""Which images play which part: the four named splits of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from splitpriv.data import copies
from splitpriv.data.base import Duplicates, Split
from splitpriv.types import Count, Fraction, Rate, UserError, Whole

Role = Literal["train", "val", "aux", "victims"]
Pool = Literal["train", "test"]
ROLES: tuple[Role, ...] = get_args(Role)


class Protocol:
    """The target's `train`, `val` for its selection, the adversary's own `aux`, and the `victims` that are scored.

    `slices` gives each as [pool, from, to], shares of that published pool, in the order drawn from `seed` if `shuffle`.
    `limit` keeps the first so many of a split (None: all). No image may play two parts unless `overlap` says so, as
    published protocols at times do. `attacked` victims have their releases attacked (None: all); `select` keeps the
    target of the last epoch, or that of the best accuracy on val among the epochs past the share `select_after`.

    `duplicates` says what becomes of images that are in several splits under other names, or look like one that is:
    "group" moves each family to one side, "flag" leaves and tells them; None: as the data set has it.
    `queries`: how often the same image is released to a suite of attacks, which averages; others say it themselves.
    """

    added: ClassVar[Mapping[str, Any]] = {"duplicates": None, "queries": 1}

    def __init__(
        self,
        *,
        slices: Mapping[Role, tuple[Pool, Fraction, Fraction]],
        shuffle: bool,
        seed: Whole,
        overlap: bool,
        limit: Mapping[Role, Count | None],
        attacked: Count | None,
        select: Literal["last", "best"],
        select_after: Rate,
        duplicates: Duplicates | None,
        queries: Count,
    ) -> None:
        self.slices = {role: slices[role] for role in ROLES if role in slices}
        self.shuffle, self.seed, self.overlap, self.limit = shuffle, seed, overlap, dict(limit)
        self.attacked, self.select, self.select_after, self.duplicates = attacked, select, select_after, duplicates
        self.queries = queries
        problems = [
            f"protocol.slices: lacks {role}; add {role}: [pool, from, to]" for role in ROLES if role not in slices
        ]
        if overlap and duplicates == "group":
            problems.append(
                "protocol.duplicates: group keeps images on one side, and overlap=true shares them; drop one"
            )
        for role, (_, start, stop) in self.slices.items():
            if not start < stop:
                problems.append(f"protocol.slices.{role}: from {start} to {stop} is empty; let from be below to")
        if not problems and not overlap:
            for a, b in combinations(ROLES, 2):
                (pool, start, stop), (other, start_b, stop_b) = self.slices[a], self.slices[b]
                if pool == other and start < stop_b and start_b < stop:
                    problems.append(_shared(a, b))
        if problems:
            raise UserError(*problems)

    def split(self, pools: Mapping[str, Split]) -> dict[str, Split]:
        """The four splits of `pools`; UserError if one is empty, or if two share an image and `overlap` is false."""
        chosen: dict[str, Split] = {}
        for role, (pool, start, stop) in self.slices.items():
            whole = pools[pool]
            first, last = round(start * len(whole)), round(stop * len(whole))
            limit = self.limit.get(role)
            last = last if limit is None else min(last, first + limit)
            if not len(whole):  # no slice of it would do
                raise UserError(
                    f"dataset.test_share: leaves no image in the pool {pool}, which protocol.slices.{role} needs; set "
                    "it to 0.2 or so, or bring more images"
                )
            if first >= last:
                raise UserError(
                    f"protocol.slices.{role}: no image in [{pool}, {start}, {stop}] of {len(whole)}; "
                    "widen the slice, or use more data"
                )
            chosen[role] = whole.take(self._order(pool, len(whole))[first:last] if self.shuffle else slice(first, last))
        if not self.overlap:
            for a, b in combinations(ROLES, 2):
                if torch.isin(chosen[a].ids, chosen[b].ids).any():
                    raise UserError(_shared(a, b))
        return chosen

    def groups(self, usual: Duplicates) -> bool:
        """Whether copies are brought to one side, of a data set that asks for `usual`."""
        return not self.overlap and (self.duplicates or usual) == "group"

    def parted(self, splits: Mapping[str, Split], usual: Duplicates) -> tuple[dict[str, Split], int]:
        """`splits` without copies on several sides, and how many images moved; `usual` is what the data set asks for.

        Raise UserError where that leaves a split empty.
        """
        if not self.groups(usual):
            return dict(splits), 0
        disjoint, moved = copies.parted(splits)
        empty = [role for role, split in disjoint.items() if not len(split)]
        if empty:
            raise UserError(
                f"protocol.duplicates: once copies are on one side, nothing is left for {' and '.join(empty)}; bring "
                "more images that differ, or set protocol.duplicates=flag"
            )
        return disjoint, moved

    def _order(self, pool: Pool, count: int) -> Tensor:
        """A seeded order of a pool, from numpy's legacy generator: its stream is the same under every version."""
        seed = 2 * self.seed + (pool == "test")
        return torch.from_numpy(np.random.RandomState(seed).permutation(count).astype(np.int64))


def _shared(a: str, b: str) -> str:
    return f"protocol.slices: {a} and {b} share images; keep their shares apart, or set protocol.overlap=true"
