"""Colluders: they hold both releases, or what deeper layers make of one."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from holders import hold, mse, quadrants
from test_decoder import SETTINGS as DECODER
from test_rmle import SETTINGS as RMLE

from splitpriv.attacks.colluding import Colluding, together
from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.rmle import Rmle
from splitpriv.types import UserError

X, _ = quadrants(64)
BASE = functools.partial(Decoder, **{**DECODER, "epochs": 4, "lr": 0.03, "batch": 32})


def test_layers_join_the_release_as_channels(tmp_path: Path) -> None:
    attack = Colluding(base=BASE, layers=1)
    assert attack.requires == {"query", "aux", "layers"} and attack.adapts == {"collusion"} and attack.colludes
    found = attack.fit(hold(attack, x=X), tmp_path)
    with torch.no_grad():
        images = found(X)
    assert images.shape == X.shape and mse(images, X) < mse(X.mean(0), X)
    assert found.inner.net[0].mean.shape == (2, 8, 8)  # the release and the layer behind it
    assert "layers" not in Colluding(base=BASE, layers=0).requires


def test_activations_of_any_size_join() -> None:
    r = torch.rand(2, 3, 8, 8)
    joined = together(r, [torch.rand(2, 4, 2, 2), torch.rand(2, 5)])
    assert joined.shape == (2, 12, 8, 8) and torch.equal(joined[:, :3], r)
    assert together(torch.rand(2, 9, 4), [torch.rand(2, 9, 5), torch.rand(2, 6)]).shape == (2, 9, 15)
    assert together(torch.rand(2, 9), [torch.rand(2, 3, 2)]).shape == (2, 15)
    with pytest.raises(UserError, match=r"^\.layers: a layer gives \(9, 4\) beside a release \(3, 8, 8\)"):
        together(r, [torch.rand(2, 9, 4)])


def test_layers_that_cannot_be(tmp_path: Path) -> None:
    attack = Colluding(base=BASE, layers=3)
    with pytest.raises(UserError, match=r"^\.layers: 3, but the cloud has 1"):
        attack.validate((4, 8, 8), 1)
    with pytest.raises(UserError, match=r"^\.layers: are seen by attacks that need queries"):
        Colluding(base=functools.partial(Rmle, **RMLE), layers=1)
    with pytest.raises(UserError, match=r"^\.base: colluders rebuild images"):
        Colluding(base=functools.partial(BASE, observe="logits"), layers=0)
