"""What the network is rather than what it learns: TL-DMI's frozen layers, RoLSS's missing skip connections."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from splitpriv.config import compose
from splitpriv.contract import defenses
from splitpriv.contract.base import composed
from splitpriv.run.known import remembered
from splitpriv.run.parts import assemble, make_model, schedule
from splitpriv.run.plan import make_plan
from splitpriv.run.prepare import prepare
from splitpriv.types import UserError

RESNET = {"_target_": "splitpriv.nets.resnet.resnet20", "stem_kernel": 3, "stem_width": 2, "widths": [2, 4, 4],
          "strides": [1, 2, 2], "weights": None, "head": "keep"}  # fmt: skip


def config(name: str, **changes: Any) -> Any:
    cfg = copy.deepcopy(composed(f"defense=[{name}]"))
    if changes:
        cfg["defense"][name] |= changes
    return cfg


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_the_first_layers_keep_weights_and_statistics_and_the_others_learn(layers: int) -> None:
    """Over the cut too: the edge of this network has two layers."""
    cfg = config("tl_dmi", layers=layers)
    fresh = defenses.model(cfg).net.state_dict()
    module = defenses.trained(cfg)
    names = [n for n, m in module.model.net.named_modules() if [*m.parameters(recurse=False)]]
    assert schedule(module.model)[0].frozen == tuple(names[:layers])
    moved = {k.rpartition(".")[0] for k, v in module.model.net.state_dict().items() if not torch.equal(v, fresh[k])}
    assert moved == set(names[layers:])
    learns = {id(p) for group in module.main.param_groups for p in group["params"]}
    assert not any(id(p) in learns for n in names[:layers] for p in module.model.net.get_submodule(n).parameters())


def test_what_leaves_nothing_to_learn_is_refused() -> None:
    with pytest.raises(UserError, match=r"^defense\.tl_dmi\.layers: 7 of 7 layers leave nothing.*at most 6"):
        defenses.model(config("tl_dmi", layers=7))


def test_frozen_layers_are_part_of_the_key_and_their_absence_is_not(tmp_path: Any) -> None:
    words = ["dataset=gaussian", "backbone.width=2", "protocol=smoke", "attack=[decoder]"]
    plans = {n: prepare(compose([*words, "defense=[tl_dmi]", f"defense.tl_dmi.layers={n}"])) for n in (1, 2)}
    assert plans[1].plan.fits != plans[2].plan.fits
    assert remembered(plans[1]).plan == make_plan(plans[1].cfg, assemble(plans[1].cfg))


def net(name: str = "none", at: str = "block3", **changes: Any) -> Any:
    cfg = config(name, **changes) | {"backbone": RESNET, "split": {"at": at, "bottleneck": None}}
    torch.manual_seed(0)
    return make_model(cfg, defenses.dataset()).eval()


@pytest.mark.parametrize(("side", "scale", "where"), [("edge", 0.0, "edge.block3"), ("edge", 0.5, "edge.block3"),
                                                     ("network", 0.0, "cloud.block9")])  # fmt: skip
def test_the_last_skip_connection_is_scaled_and_nothing_else_is_touched(side: str, scale: float, where: str) -> None:
    plain, without = net(), net("rolss", side=side, scale=scale)
    z = torch.rand(4, *(2, 8, 8) if side == "edge" else (4, 2, 2))
    block, changed = plain.net.get_submodule(where), without.net.get_submodule(where)
    inner = block.norm2(block.conv2(F.relu(block.norm1(block.conv1(z)))))
    assert torch.allclose(block(z), F.relu(inner + z))
    assert torch.allclose(changed(z), F.relu(inner + scale * z))
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(without.release(x), plain.release(x)) == (side == "network")
    assert without.chain["rolss"].adaptive == ({"network"} if side == "network" else set())  # what it protects, then
    before = [b for n, b in plain.net.edge.named_children() if n != "block3"]
    after = [b for n, b in without.net.edge.named_children() if n != "block3"]
    for a, b in zip(before, after, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_blocks_that_change_shape_and_those_of_libraries_lose_theirs_too() -> None:
    from torchvision.models.resnet import BasicBlock

    from splitpriv.defenses.rolss import Scaled, _skip

    strided = net("rolss", at="block4").net.edge.block4
    assert isinstance(strided.shortcut, Scaled)
    assert strided(torch.rand(2, 2, 8, 8)).shape == (2, 4, 4, 4)
    block = BasicBlock(4, 4).eval()
    z = torch.rand(2, 4, 6, 6)
    inner = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(z)))))
    assert _skip(block) == "downsample"
    for scale in (0.0, 0.3):
        block.downsample = Scaled(torch.nn.Identity(), scale)
        assert torch.allclose(block(z), F.relu(inner + scale * z), atol=1e-6)


def test_a_network_without_so_many_blocks_is_refused() -> None:
    with pytest.raises(UserError, match=r"^defense\.rolss\.blocks: 1, but the edge has 0 residual blocks; lower it"):
        defenses.model(config("rolss"))
    with pytest.raises(UserError, match=r"\.blocks: 4, but the edge has 3"):
        net("rolss", blocks=4)
