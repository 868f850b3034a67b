"""Attacks without a query: FORA knows releases that were sent, UnSplit the architecture, captions the cloud."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from holders import equal, folder, hold, quadrants
from test_decoder import SETTINGS as DECODER
from test_probe import SETTINGS as PROBE
from test_substitute import SETTINGS as SUBSTITUTE
from test_substitute import cloud, edge
from torch import Tensor, nn

from splitpriv.attacks.base import Attack
from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.fora import Fora
from splitpriv.attacks.probe import Probe
from splitpriv.attacks.substitute import Substitute
from splitpriv.attacks.unsplit import UnSplit
from splitpriv.nets import small
from splitpriv.store import state
from splitpriv.types import UserError

X, Y = quadrants(128)
VICTIMS, LABELS = quadrants(64, seed=1)
BASE = functools.partial(Decoder, **{**DECODER, "epochs": 12, "lr": 0.03, "batch": 32, "standardise": True})
PLAIN: dict[str, Any] = {"backbone": None, "at": None, "bottleneck": None, "width": 4}
FORA: dict[str, Any] = {
    **PLAIN, "hidden": [16], "weight": 0.8, "penalty": 10.0, "epochs": 12, "batch": 32, "lr": 0.01, "critic_lr": 1e-3,
    "tolerance": 0.05,
}  # fmt: skip
UNSPLIT: dict[str, Any] = {
    **PLAIN, "epochs": 3, "steps": 5, "lr": 0.05, "clone_lr": 0.01, "tv": 0.0, "l2": 0.0, "batch": 16, "draws": 1,
    "tolerance": 0.05,
}  # fmt: skip


def bright(x: Tensor) -> Tensor:
    """Which half is brighter, and how bright the image is: a law that says where it comes from."""
    return nn.functional.avg_pool2d(x, 4)


# ---- FORA ----------------------------------------------------------------------------------------------------------


def test_a_stand_in_comes_to_send_what_was_sent(tmp_path: Path) -> None:
    attack = Fora(base=BASE, **FORA)
    found = attack.fit(hold(attack, edge=bright, x=X), tmp_path)
    assert found.report == {}
    with torch.no_grad():
        images = found(bright(VICTIMS))
    report = found.report
    assert images.shape == VICTIMS.shape and report["shadow_mmd"][-1] < 0.3 * report["shadow_mmd"][0]
    assert len(report["train"]) <= 12 and isinstance(report["converged"], bool)


def test_it_holds_releases_and_images_and_nothing_else(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    attack = Fora(base=functools.partial(BASE, epochs=1), **{**FORA, "epochs": 1})
    access = hold(attack, edge=bright, x=X, seen=seen)
    attack.fit(access, tmp_path)(bright(VICTIMS))
    assert attack.requires == {"aux"} and not seen
    for right in ("query", "edge", "clean", "cloud", "mask"):
        with pytest.raises(PermissionError, match=right):
            getattr(access, right)


def test_fora_killed_and_resumed_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, real = Fora(base=functools.partial(BASE, epochs=2), **{**FORA, "epochs": 3}), state.save_state

    def found(name: str) -> Any:
        fitted = attack.fit(hold(attack, edge=bright, x=X), folder(tmp_path / name / "key"))
        with torch.no_grad():
            fitted(bright(VICTIMS))
        return fitted

    def kill(path: Path, epoch: int, *rest: Any) -> None:
        if (path.name, epoch) == ("fora.pt", 2):
            raise KeyboardInterrupt
        real(path, epoch, *rest)

    whole = found("a")
    with monkeypatch.context() as inner:
        inner.setattr(state, "save_state", kill)
        with pytest.raises(KeyboardInterrupt):
            found("b")
    torch.manual_seed(5)
    assert equal(whole, found("b"))


# ---- UnSplit -------------------------------------------------------------------------------------------------------


def test_images_and_clone_come_to_explain_the_releases(tmp_path: Path) -> None:
    attack = UnSplit(**{**UNSPLIT, "epochs": 6})
    access = hold(attack, edge=bright, x=X)
    found = attack.fit(access, tmp_path)
    with torch.no_grad():
        images = found(bright(VICTIMS))
    curve = found.report["feature_loss"]
    assert images.shape == VICTIMS.shape and images.min() >= 0 and images.max() <= 1
    assert len(curve) == 7 and curve[-1] < 0.2 * curve[0]
    assert attack.requires == set()
    for right in ("query", "edge", "cloud", "aux"):
        with pytest.raises(PermissionError, match=right):
            getattr(access, right)
    again = attack.fit(access, tmp_path)
    assert torch.equal(again(bright(VICTIMS)), images)  # finished batches are kept


def test_the_clone_of_a_known_architecture(tmp_path: Path) -> None:
    target = next(small.tiny(hold(UnSplit(**UNSPLIT), x=X).spec, width=2).children()).eval()
    attack = UnSplit(**{**UNSPLIT, "backbone": functools.partial(small.tiny, width=2), "at": "shallow"})
    with torch.no_grad():
        r = target(VICTIMS[:16])
    found = attack.fit(hold(attack, edge=target, x=X), tmp_path)
    with torch.no_grad():
        assert found(r).shape == VICTIMS[:16].shape


# ---- labels without pixels -----------------------------------------------------------------------------------------


def test_a_caption_is_read_off_releases_by_whoever_holds_the_cloud_alone(tmp_path: Path) -> None:
    """The bit of the class that says whether the first quadrant is bright, which the cloud's classes imply."""
    probe = functools.partial(Probe, **{**PROBE, "attribute": "first", "epochs": 30})
    attack = Substitute(base=probe, **SUBSTITUTE)
    seen: list[Tensor] = []
    access = hold(attack, edge=edge, cloud=cloud, x=X, y=Y, classes=16, attributes={"first": Y & 1}, seen=seen)
    found = attack.fit(access, tmp_path)
    with torch.no_grad():
        said = found(edge(VICTIMS)).argmax(1)
    assert (attack.recovers, attack.attribute, attack.requires) == ("attribute", "first", {"cloud", "aux"})
    assert not seen and (said == LABELS & 1).float().mean() > 0.75


# ---- what cannot be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Fora, UnSplit])
def test_a_cut_belongs_to_a_network(kind: type[Attack]) -> None:
    settings = {**FORA, "base": BASE} if kind is Fora else UNSPLIT
    with pytest.raises(UserError, match=r"^\.at: and backbone"):
        kind(**{**settings, "at": "middle"})


def test_bases_that_a_stand_in_cannot_serve() -> None:
    with pytest.raises(UserError, match=r"^\.base: a stand-in"):
        Fora(base=functools.partial(BASE, mask=True), **FORA)
