"""Query-free inversion: a stand-in that learns through the frozen cloud, and nothing else is touched."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from holders import equal, folder, hold, killed_and_resumed, mse, quadrants
from test_decoder import SETTINGS as DECODER
from test_rmle import SETTINGS as RMLE
from torch import Tensor, nn

from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.rmle import Rmle
from splitpriv.attacks.substitute import Substitute
from splitpriv.nets import small, standins
from splitpriv.types import Shape, Spec, UserError

X, Y = quadrants(128)
VICTIMS, _ = quadrants(64, seed=1)
FLOOR = mse(X.mean(0), VICTIMS)
SIGNS = torch.tensor([[1.0 if code >> bit & 1 else -1.0 for bit in range(4)] for code in range(16)])
SPEC = Spec(image=(1, 8, 8), classes=16)
SETTINGS: dict[str, Any] = {
    "backbone": None, "at": None, "bottleneck": None, "width": 4, "activation": "none", "epochs": 12, "batch": 32,
    "lr": 0.01, "min_lr": 1e-3, "weight_decay": 0.0, "held": 0.25, "patience": None, "select": "best",
    "tolerance": 0.05,
}  # fmt: skip
BASE = functools.partial(Decoder, **{**DECODER, "epochs": 12, "lr": 0.03, "batch": 32, "standardise": True})
QUICK = functools.partial(BASE, epochs=1)
SEARCH = functools.partial(Rmle, **{**RMLE, "steps": 40, "tv": [1.0], "relative": True, "batch": 64})


def edge(x: Tensor) -> Tensor:
    """How bright each quadrant is: a release (N, 4, 1, 1)."""
    return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)[:, :, None, None] - 0.5


def cloud(r: Tensor) -> Tensor:
    """Which quadrants are bright: 16 classes."""
    return 4 * r.flatten(1) @ SIGNS.T


def attack(base: Any = BASE, **changed: Any) -> Substitute:
    return Substitute(base=base, **{**SETTINGS, **changed})


holding = functools.partial(hold, edge=edge, cloud=cloud, x=X, y=Y, classes=16)


@pytest.mark.parametrize("base", [BASE, SEARCH], ids=["decoder", "rmle"])
def test_without_a_single_query_it_beats_the_mean_image(tmp_path: Path, base: Any) -> None:
    seen: list[Tensor] = []
    it = attack(base)
    found = it.fit(holding(it, seen=seen), tmp_path)
    assert not seen
    with torch.no_grad():
        images = found(edge(VICTIMS))
    assert images.shape == VICTIMS.shape and mse(images, VICTIMS) < 0.8 * FLOOR
    assert found.report["shadow_accuracy"] > 0.6
    assert found.report["shadow_train"][-1] < 0.5 * found.report["shadow_train"][0]
    assert not any(isinstance(value, dict) for value in found.report.values())


def test_a_constant_release_gives_nothing(tmp_path: Path) -> None:
    it = attack()
    found = it.fit(holding(it), tmp_path)
    assert mse(found(0 * edge(VICTIMS)), VICTIMS) > 0.9 * FLOOR


def test_a_stand_in_that_learnt_nothing_inverts_nothing(tmp_path: Path) -> None:
    """What makes the attack is the cloud: shuffled labels leave it at the floor."""
    it = attack()
    found = it.fit(hold(it, edge=edge, cloud=cloud, x=X, y=Y.roll(1), classes=16), tmp_path)
    assert found.report["shadow_accuracy"] < 0.3 and mse(found(edge(VICTIMS)), VICTIMS) > 0.85 * FLOOR


def test_it_holds_the_cloud_and_labelled_images_and_no_edge(tmp_path: Path) -> None:
    it = attack(QUICK, epochs=1)
    access = holding(it)
    assert it.requires == {"cloud", "aux"}
    it.fit(access, tmp_path)
    for right in ("query", "edge", "clean", "mask"):
        with pytest.raises(PermissionError, match=right):
            getattr(access, right)


def test_the_cloud_stays_as_it_was(tmp_path: Path) -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(4, 16)).requires_grad_(False)
    before = head[1].weight.clone()
    it = attack(QUICK, epochs=2)
    it.fit(hold(it, edge=edge, cloud=head, x=X, y=Y, classes=16), tmp_path)
    assert torch.equal(head[1].weight, before) and head[1].weight.grad is None


def test_the_adversary_who_knows_the_architecture(tmp_path: Path) -> None:
    backbone = functools.partial(small.tiny, width=2)
    target = next(small.tiny(SPEC, width=2).children()).eval()
    rest = nn.Sequential(nn.Flatten(), nn.Linear(2 * 16, 16))
    it = attack(QUICK, backbone=backbone, at="shallow", epochs=1)
    found = it.fit(hold(it, edge=target, cloud=rest.requires_grad_(False), x=X, y=Y, classes=16), tmp_path)
    assert found(target(VICTIMS)).shape == VICTIMS.shape
    nothing = attack(backbone=backbone, at=0)
    with pytest.raises(UserError, match=r"^\.at: 0 leaves nothing on the edge"):
        nothing.fit(hold(nothing, cloud=rest, x=X, y=Y, classes=16), folder(tmp_path / "nothing"))
    wrong = attack(backbone=backbone, at="middle")
    with pytest.raises(UserError, match=r"^\.at: middle gives a stand-in of \(4, 2, 2\), but a release is \(2, 4, 4\)"):
        wrong.fit(hold(wrong, edge=target, cloud=rest, x=X, y=Y, classes=16), folder(tmp_path / "wrong"))


@pytest.mark.parametrize("shape", [(8, 4, 4), (3, 8, 8), (5, 3, 3), (2, 16, 16), (84,), (17, 6), (32, 1, 1)])
def test_a_stand_in_gives_any_release(shape: Shape) -> None:
    assert standins.plain(SPEC, shape, 4)(X[:2]).shape == (2, *shape)


def test_it_may_end_in_a_relu() -> None:
    it = attack(activation="relu")
    access = holding(it)
    with torch.no_grad():
        assert float(it._edge(access)(X).min()) == 0.0 > float(attack()._edge(access)(X).min())


@pytest.mark.parametrize("stop", ["shadow.pt", "last.pt"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    it = attack(functools.partial(BASE, epochs=3), epochs=3)
    whole, again = killed_and_resumed(it, functools.partial(holding, it), tmp_path, monkeypatch, stop)
    assert equal(whole, again) and whole.report == again.report


def test_bases_and_settings_that_cannot_work(tmp_path: Path) -> None:
    assert attack(functools.partial(BASE, draws=4)).adapts == {"draws"}
    for changed in ({"mask": True}, {"observe": "logits"}):
        with pytest.raises(UserError, match=r"^\.base: a stand-in"):
            attack(functools.partial(BASE, **changed))
    with pytest.raises(UserError, match=r"^\.base\.held"):
        attack(functools.partial(BASE, held=0.0))
    with pytest.raises(UserError, match=r"^\.at: and backbone"):
        attack(at="middle")
    with pytest.raises(UserError, match=r"^\.held"):
        attack(held=0.0)
