"""Every attack that `conf/attack` lists: its YAML fits its class, and its steps never wait for the device."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch._subclasses.fake_tensor import FakeTensorMode

import splitpriv
from splitpriv import host, resume
from splitpriv.config import build, locate

FILES = sorted((Path(splitpriv.__file__).parents[1] / "conf" / "attack").glob("*.yaml"))
SMALL = {"epochs": 2, "steps": 3, "batch": 8, "restarts": 2, "latents": 2}
NET = {"_target_": "splitpriv.nets.decoders.residual", "blocks": 1, "width": 4}


def node(path: Path) -> dict[str, Any]:
    (loaded,) = (v for k, v in yaml.safe_load(path.read_text()).items() if k != "defaults")
    if "decoder@" in path.read_text():
        loaded["net"] = NET
    return loaded


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_yaml_holds_every_setting_and_no_other(path):
    loaded = node(path)
    parameters = inspect.signature(locate(loaded["_target_"], "attack")).parameters.values()
    assert {p.name for p in parameters} == set(loaded) - {"_target_"}
    assert all(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
    keys = [k for k in yaml.safe_load(path.read_text()) if k != "defaults"]
    assert keys == [path.stem] and path.read_text().startswith("# ")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_no_step_waits_for_the_device(path, world, tmp_path, monkeypatch):
    loaded = node(path)
    loaded |= {k: v for k, v in SMALL.items() if k in loaded}
    attack = build(loaded, "attack")()
    monkeypatch.setattr(host, "to_host", lambda values: [0.0] * values.numel())
    monkeypatch.setattr(resume, "save_state", lambda *_: None)
    monkeypatch.setattr(resume, "save_tensors", lambda *_: None)
    with FakeTensorMode():
        here = world(noise=lambda z: z + 0.1 * torch.randn_like(z))
        if attack.recovers != "image":
            pytest.skip("recovers attributes")
        reconstructor = attack.fit(here.access(attack), tmp_path)
        found = reconstructor(here.release(torch.rand(10, 1, 8, 8)))
    assert found.shape == (10, 1, 8, 8)
    if "restarts" in loaded or "epochs" in loaded:
        assert reconstructor.report
