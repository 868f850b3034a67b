"""Every attack that `conf/attack` lists: its steps never wait for the device."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv import config, host
from splitpriv.attacks.suite import autoinvert, plateau
from splitpriv.attacks.suite.plateau import Length
from splitpriv.store import state
from splitpriv.targets import build

NAMES = sorted(path.stem for path in (config.CONF / "attack").glob("*.yaml"))
SMALL = {
    "epochs": 2,
    "pretrain": 2,
    "steps": 3,
    "batch": 24,
    "draws": 2,
    "n_critic": 2,
    "restarts": 2,
    "levels": 2,
    "starts": 8,
}
NET = {"_target_": "splitpriv.nets.decoders.residual", "blocks": 1, "width": 4}


@functools.cache
def nodes() -> dict[str, Any]:
    return config.compose([f"attack=[{','.join(NAMES)}]"])["attack"]  # type: ignore[no-any-return]


def _cut(x: torch.Tensor) -> torch.Tensor:
    """A release of the shape that the default cut of the default backbone gives, (N, 32, 2, 2)."""
    return torch.nn.functional.avg_pool2d(x, 4).expand(-1, 32, -1, -1)


def small(loaded: dict[str, Any]) -> dict[str, Any]:
    """The same with few steps and little nets, in attacks within attacks too."""
    inner = {k: small(v) for k, v in loaded.items() if isinstance(v, dict)}
    few = {k: v for k, v in SMALL.items() if loaded.get(k)}
    return loaded | inner | few | ({"net": NET} if "net" in loaded else {})


@pytest.mark.parametrize(
    "name", [n for n in NAMES if not n.startswith(("reid", "autoinvert_q", "autoinvert_p"))]
)  # those need identities of their own
def test_no_step_waits_for_the_device(name, world, tmp_path, monkeypatch):
    loaded = small(nodes()[name])
    attack = build(loaded, "attack")()
    few = autoinvert.Tier(("unet",), Length(2, 4), Length(2, 4), 2, 1, 1, Length(2, 4))
    monkeypatch.setattr(autoinvert, "TIERS", dict.fromkeys(autoinvert.TIERS, few))
    monkeypatch.setattr(plateau, "ROUND", 2)
    monkeypatch.setattr(host, "to_host", lambda values: [0.0] * values.numel())
    monkeypatch.setattr(state, "save_state", lambda *_: None)
    monkeypatch.setattr(state, "save_tensors", lambda *_: None)
    with FakeTensorMode():
        edge = _cut if loaded.get("at") else lambda x: x  # a stand-in of the target's architecture has its shape
        here = world(edge=edge, noise=lambda z: z + 0.1 * torch.randn_like(z))
        reconstructor = attack.fit(here.access(attack), tmp_path)
        found = reconstructor(here.release(torch.rand(10, 1, 8, 8)))
    assert found.shape == ((10, 2) if attack.recovers == "attribute" else (10, 1, 8, 8))
    assert isinstance(reconstructor.report, dict)  # what needs no making has nothing to say of it
