"""Small worlds for attacks: an edge, a release, and an adversary's access to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.attacks.base import Access, Attack, Aux
from splitpriv.data.base import Split
from splitpriv.types import Spec

SPEC = Spec(image=(1, 8, 8), classes=2)


def pictures(count: int, seed: int = 0) -> Tensor:
    """Smooth random images, (count, 1, 8, 8)."""
    coarse = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (8, 8), mode="bilinear", align_corners=True)


def _same(t: Tensor) -> Tensor:
    return t


def _halves(r: Tensor) -> Tensor:
    """Logits of a cloud with two classes: whether the first or the second half of a release is larger."""
    return torch.stack([half.mean(1) for half in r.flatten(1).chunk(2, 1)], 1)


@dataclass
class World:
    """An edge and a noise; everything the adversary touches is counted."""

    edge: Callable[[Tensor], Tensor] = _same
    noise: Callable[[Tensor], Tensor] = _same
    aux: Tensor = field(default_factory=lambda: pictures(48))
    seen: list[Tensor] = field(default_factory=list)
    intercepted: int = 0

    def release(self, x: Tensor) -> Tensor:
        return self.noise(self.edge(x))

    def _obfuscate(self, z: Tensor) -> Tensor:
        released = self.noise(z)
        self.seen.append(released)
        return released

    def _intercept(self, draws: int) -> Tensor:
        self.intercepted += 1
        raise AssertionError("a fit must not look at the victims")

    def access(self, attack: Attack) -> Access:
        y = torch.arange(len(self.aux)) % SPEC.classes
        split = Split(self.aux, y, torch.arange(len(y)))
        with torch.no_grad():
            shape = tuple(self.edge(self.aux[:2]).shape[1:])
        rights: dict[Any, Any] = {
            "query": self.release,
            "edge": self.release,
            "expected": self.edge,
            "clean": self.edge,
        }
        rights |= {
            "cloud": _halves,
            "mask": torch.ones(shape),
            "aux": Aux(split, self.edge, self._obfuscate, cacheable=True),
        }
        return Access(
            attack.requires, spec=SPEC, shape=shape, device=torch.device("cpu"), intercept=self._intercept,
            rights=rights, autocast=contextlib.nullcontext,
        )  # fmt: skip


@pytest.fixture
def world() -> type[World]:
    return World


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITPRIV_PROGRESS", "0")
