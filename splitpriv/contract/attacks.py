"""Every attack: it gives what it promises from what it declares, twice the same, and no step waits for the device."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv import config, host
from splitpriv.attacks.base import Access, Attack, Aux
from splitpriv.contract.base import few, require, require_json, require_valued
from splitpriv.data.base import Split
from splitpriv.store import state
from splitpriv.targets import build
from splitpriv.types import Spec

SPEC = Spec(image=(1, 8, 8), classes=2)


def pictures(count: int, seed: int = 0) -> Tensor:
    """Smooth random images, (count, 1, 8, 8)."""
    coarse = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (8, 8), mode="bilinear", align_corners=True)


def same(t: Tensor) -> Tensor:
    return t


def halves(r: Tensor) -> Tensor:
    """Logits of a cloud with two classes: whether the first or the second half of a release is larger."""
    return torch.stack([half.mean(1) for half in r.flatten(1).chunk(2, 1)], 1)


@dataclass
class World:
    """An edge and a noise; everything the adversary touches is counted."""

    edge: Callable[[Tensor], Tensor] = same
    noise: Callable[[Tensor], Tensor] = same
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
            "cloud": halves,
            "layers": lambda r: [r, r],
            "mask": torch.ones(shape),
            "aux": Aux(split, self.edge, self._obfuscate, cacheable=True),
        }
        return Access(
            attack.requires, spec=SPEC, shape=shape, device=torch.device("cpu"), intercept=self._intercept,
            rights=rights, autocast=contextlib.nullcontext,
        )  # fmt: skip


def noisy(z: Tensor) -> Tensor:
    """Gaussian noise of 0.1."""
    return z + 0.1 * torch.randn_like(z)


def waits_for_nothing(node: dict[str, Any], home: Path, edge: Callable[[Tensor], Tensor] = same) -> None:
    """No step asks for a value of a tensor, which would make a GPU wait; what it gives has the shape promised."""
    attack = build(node, "attack")()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(host, "to_host", lambda values: [0.0] * values.numel()))
        for name in ("save_state", "save_tensors"):
            stack.enter_context(mock.patch.object(state, name))
        stack.enter_context(FakeTensorMode())
        world = World(edge=edge, noise=noisy)
        reconstructor = attack.fit(world.access(attack), home)
        found = reconstructor(world.release(torch.rand(10, 1, 8, 8)))
        _require_shape(attack, found)
    require(isinstance(reconstructor.report, dict), "its report is no dictionary")  # which may be empty


def _require_shape(attack: Attack, found: Tensor) -> None:
    wanted = {"image": (10, 1, 8, 8), "attribute": (10, 2)}.get(attack.recovers, (10, *found.shape[1:]))
    require(tuple(found.shape) == wanted, f"of 10 releases it recovers {tuple(found.shape)}, no {attack.recovers}s "
                                          f"{wanted}")  # fmt: skip


def _settings(option: str) -> dict[str, Any]:
    node = config.compose([f"attack=[{option}]"])["attack"][option]
    require_valued(node, f"attack.{option}")
    return few(node)


def never_waits(option: str) -> None:
    """No step asks for a value of a tensor; what it gives has the shape that it promises."""
    with tempfile.TemporaryDirectory() as home:
        waits_for_nothing(_settings(option), Path(home))


def repeats(option: str) -> None:
    """The same key gives the same finite numbers, whatever was drawn before; and no victim is seen."""
    node, found = _settings(option), []
    for before in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "key"
            home.mkdir()
            torch.manual_seed(before)
            attack, world = build(node, f"attack.{option}")(), World(noise=noisy)
            state.seed_epoch("key", -1)
            reconstructor = attack.fit(world.access(attack), home)
            state.seed_epoch("key", -2)
            with torch.no_grad():
                found.append(reconstructor(torch.full((10, 1, 8, 8), 0.5)))
            require_json(reconstructor.report, "its report")
            reconstructor.tidy()
    _require_shape(attack, found[0])
    require(torch.isfinite(found[0]).all(), "what it recovers is not finite")
    require(torch.equal(*found), "the same fit gives other numbers when it is repeated; draw after state.seed_epoch")


CHECKS = (never_waits, repeats)
