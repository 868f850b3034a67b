"""What the stages of an audit share: the device as an adversary may use it, or the pairs that were recorded."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from splitpriv.attacks.base import Access, Attack, Aux, Right, mean_of
from splitpriv.data.base import Split
from splitpriv.given.device import Device
from splitpriv.given.sides import Sides
from splitpriv.run.context import Run
from splitpriv.run.prepare import Prepared
from splitpriv.store import Store
from splitpriv.store.state import seed_epoch
from splitpriv.types import Shape, UserError

Knowledge = Literal["white", "query", "recorded"]
CHUNK = 256


class Pairs:
    """A device that answers what was recorded alone: images (N, C, H, W) that are in `split`, as they are."""

    def __init__(self, split: Split, releases: Tensor) -> None:
        self.releases = releases
        self.at = {name: i for i in range(0, len(split), CHUNK)
                   for i, name in enumerate(_names(split.x(slice(i, i + CHUNK))), i)}  # fmt: skip

    def __call__(self, x: Tensor) -> Tensor:
        return self.releases[[self.at[name] for name in _names(x)]]


def _names(x: Tensor) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in x.cpu().contiguous().numpy()]


class Audited(Run):
    """An audit in progress. `sent`: releases of which no image is known."""

    def __init__(self, prepared: Prepared, store: Store, device: torch.device, held: Sides, edge: Device | None,
                 knowledge: Knowledge) -> None:  # fmt: skip
        super().__init__(prepared, store, device)
        self.edge, self.knowledge, self.moved, self.width = edge, knowledge, held.moved, held.width
        self._splits = {"aux": held.aux.to(device), "victims": held.victims.to(device)}
        self._aux_releases, self._victims_releases, self.sent = (
            None if r is None else r.to(device) for r in (held.aux_releases, held.victims_releases, held.sent)
        )

    @cached_property
    def splits(self) -> dict[str, Split]:
        return self._splits

    @cached_property
    def known(self) -> dict[str, Split]:
        return self._splits

    @cached_property
    def victims(self) -> Split:
        return self._splits["victims"]

    @property
    def shape(self) -> Shape:
        """Of one release."""
        return self.edge.shape if self.edge else tuple(self.releases(0).shape[1:])

    @cached_property
    def query(self) -> Any:
        """Images of the adversary's -> their releases."""
        if self.edge is not None:
            return self.edge.release
        assert self._aux_releases is not None
        return Pairs(self._splits["aux"], self._aux_releases)

    @cached_property
    def aux(self) -> Aux:
        fixed = self.edge is None or self.edge.fixed
        return Aux(self._splits["aux"], self.query, lambda z: z, cacheable=fixed)

    def access(self, attack: Attack) -> Access:
        """What this attack may hold; a random device's expected release is a draw."""
        rights: dict[Right, Any] = {
            "query": torch.no_grad()(self.query), "aux": self.aux, "mask": torch.ones(self.shape, device=self.device)
        }  # fmt: skip
        if self.knowledge == "white":
            rights |= {"edge": self.query, "expected": self.query, "clean": self.query}
            rights |= {"gap": None, "present": None}  # nobody here says what the device's randomness does

        def intercept(draws: int) -> Tensor:
            occasions = iter(range(draws))
            return mean_of(lambda: self.releases(next(occasions)), draws)

        return Access(
            attack.requires, spec=self.parts.dataset.spec, shape=self.shape, device=self.device, intercept=intercept,
            autocast=nullcontext, rights=rights, shared=self._share, recorded=self.edge is None,
        )  # fmt: skip

    @torch.no_grad()
    def releases(self, draw: int) -> Tensor:
        """What the device sent for every victim; on further occasions, what it would send."""
        if self._victims_releases is not None:
            return self._victims_releases
        seed_epoch(f"victims of {self.plan.seeds[-1]}", draw)
        parts = (self.victims.x(slice(i, i + CHUNK)) for i in range(0, len(self.victims), CHUNK))
        return torch.cat([self.query(x) for x in parts])

    @torch.no_grad()
    def require_finite(self) -> None:
        """Raise UserError where the device answers the adversary's first images with NaN or infinities."""
        if not self.query(self._splits["aux"].x(slice(0, CHUNK))).isfinite().all():
            raise UserError("--edge: answers some images with NaN or infinities; mend it, or see --mean and --std")

    def home(self, name: str) -> Path:
        """The folder of an attack."""
        return self.store.home("attack", self.plan.attacks[name])
