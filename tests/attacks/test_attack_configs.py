"""Every attack that `conf/attack` lists: its steps never wait for the device."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from splitpriv import config
from splitpriv.attacks.suite import autoinvert, plateau
from splitpriv.attacks.suite.plateau import Length
from splitpriv.contract.attacks import same, waits_for_nothing
from splitpriv.contract.base import few

NAMES = sorted(path.stem for path in (config.CONF / "attack").glob("*.yaml"))


@functools.cache
def nodes() -> dict[str, Any]:
    return config.compose([f"attack=[{','.join(NAMES)}]"])["attack"]  # type: ignore[no-any-return]


def _cut(x: torch.Tensor) -> torch.Tensor:
    """A release of the shape that the default cut of the default backbone gives, (N, 32, 2, 2)."""
    return torch.nn.functional.avg_pool2d(x, 4).expand(-1, 32, -1, -1)


SUITES = {"autoinvert": (), "autoinvert_black": pytest.mark.slow}  # of the others' steps: what a tier has, all have


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=SUITES.get(n, ())) for n in NAMES
             if not n.startswith(("reid", "autoinvert")) or n in SUITES]
)  # fmt: skip  # reid: those need identities of their own
def test_no_step_waits_for_the_device(name, tmp_path, monkeypatch):
    node = few(nodes()[name])
    rungs = ("plain",) if "black" in name else ("unet",)  # each net once
    tier = autoinvert.Tier(rungs, Length(1, 2), Length(1, 2), 2, 1, 1, Length(1, 2))
    monkeypatch.setattr(autoinvert, "TIERS", dict.fromkeys(autoinvert.TIERS, tier))
    monkeypatch.setattr(plateau, "ROUND", 1)
    waits_for_nothing(node, tmp_path, _cut if node.get("at") else same)  # a stand-in of the target has its shape
