"""What an adversary holds in a small world: labelled images, a release of them, perhaps the cloud and a keep-mask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.attacks.base import Access, Attack, Aux
from splitpriv.data.base import Split
from splitpriv.store import state
from splitpriv.types import Spec


def same(t: Tensor) -> Tensor:
    return t


def quadrants(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (count, 1, 8, 8) of four even quadrants, and (count,) which of them are bright, as a number below 16."""
    coarse = torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    bits = (coarse.flatten(1) > 0.5).long()
    return nn.functional.interpolate(coarse, (8, 8)), (bits * torch.tensor([1, 2, 4, 8])).sum(1)


def mse(found: Tensor, x: Tensor) -> float:
    return float((found - x).square().mean().detach())


def hold(attack: Attack, *, edge: Callable[[Tensor], Tensor] = same, noise: Callable[[Tensor], Tensor] = same,
         cloud: Callable[[Tensor], Tensor] | None = None, mask: Tensor | None = None, x: Tensor,
         y: Tensor | None = None, classes: int = 2, attributes: Mapping[str, Tensor] | None = None,
         seen: list[Tensor] | None = None) -> Access:  # fmt: skip
    """The access of `attack`; aux is (x, y), `seen` gathers every release of it, and victims are out of reach."""
    y = torch.zeros(len(x), dtype=torch.int64) if y is None else y

    def obfuscate(z: Tensor) -> Tensor:
        released = noise(z)
        if seen is not None:
            seen.append(released)
        return released

    def intercept(draws: int) -> Tensor:
        raise AssertionError("a fit must not look at the victims")

    def release(images: Tensor) -> Tensor:
        return noise(edge(images))

    with torch.no_grad():
        shape = tuple(edge(x[:2]).shape[1:])
    split = Split(x, y, torch.arange(len(y)), dict(attributes or {}))
    spec = Spec(image=(1, 8, 8), classes=classes, attributes={k: int(v.max()) + 1 for k, v in split.attributes.items()})
    rights: dict[Any, Any] = {"query": release, "edge": release, "expected": edge, "clean": edge, "cloud": cloud,
                              "layers": lambda r: [r.square()],
                              "mask": torch.ones(shape) if mask is None else mask,
                              "aux": Aux(split, edge, obfuscate, cacheable=True)}  # fmt: skip
    return Access(attack.requires, spec=spec, shape=shape, device=torch.device("cpu"), intercept=intercept,
                  rights=rights, autocast=contextlib.nullcontext)  # fmt: skip


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def killed_and_resumed(attack: Attack, access: Callable[[], Access], root: Path, patch: pytest.MonkeyPatch,
                       stop: str) -> tuple[Any, Any]:  # fmt: skip
    """What an uninterrupted fit gives, and one killed while it saves epoch 2 of the file `stop`, then run again."""
    whole, home, real = attack.fit(access(), folder(root / "a" / "key")), folder(root / "b" / "key"), state.save_state

    def kill(path: Path, epoch: int, *rest: Any) -> None:
        if (path.name, epoch) == (stop, 2):
            raise KeyboardInterrupt
        real(path, epoch, *rest)

    with patch.context() as inner:
        inner.setattr(state, "save_state", kill)
        with pytest.raises(KeyboardInterrupt):
            attack.fit(access(), home)
    torch.manual_seed(12345)
    return whole, attack.fit(access(), home)
