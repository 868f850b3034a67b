"""Decoders that are told more than the release: whom it shows, or where its tokens belong."""

from __future__ import annotations

import functools
from math import prod
from pathlib import Path

import pytest
import torch
from holders import hold, mse, quadrants
from test_decoder import SETTINGS as DECODER
from test_probe import SETTINGS as PROBE
from torch import Tensor

from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.identity_conditioned import Conditioned, IdentityConditioned
from splitpriv.attacks.probe import Probe
from splitpriv.attacks.training import Learned, Standardise
from splitpriv.attacks.unshuffle import Unshuffle
from splitpriv.defenses.parts.places import Places, aligned
from splitpriv.types import Shape, UserError

X, Y = quadrants(96)
BASE = functools.partial(Decoder, **{**DECODER, "epochs": 6, "lr": 0.03, "batch": 32})
READ = functools.partial(Probe, **{**PROBE, "epochs": 6})


# ---- told whom it shows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4, 4), (9, 6), (10,)])
def test_the_embedding_joins_a_release_everywhere(shape: Shape) -> None:
    told = Learned(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(prod(shape), 5)), {})
    first = Conditioned(Standardise(shape), told, 5, 2)
    out = first(torch.rand(4, *shape))
    side = 2 if len(shape) == 2 else 1
    assert out.shape == (4, *first.shape) and out.shape[side] == shape[side - 1] + 2
    extra = out.narrow(side, shape[side - 1], 2).flatten(1) if len(shape) == 3 else None
    assert extra is None or torch.equal(extra[:, :16], extra[:, :1].expand(-1, 16))


def test_it_learns_from_what_the_probe_says_and_leaves_the_probe_alone(tmp_path: Path) -> None:
    attack = IdentityConditioned(base=BASE, probe=READ, width=3)
    assert attack.requires == {"query", "aux"}
    found = attack.fit(hold(attack, x=X, y=Y % 2), tmp_path)
    first = found.net[0]
    assert first.shape == (4, 8, 8)
    before = [p.clone() for p in first.told.parameters()]
    alone = attack.probe.fit(hold(attack.probe, x=X, y=Y % 2), tmp_path / "probe" / tmp_path.name)
    assert all(torch.equal(a, b) for a, b in zip(before, alone.parameters(), strict=True))
    assert first.embed.weight.abs().sum() > 0
    with torch.no_grad():
        assert mse(found(X), X) < mse(X.mean(0), X)


def test_what_cannot_be_told() -> None:
    with pytest.raises(UserError, match=r"^\.base: only an inverse network"):
        IdentityConditioned(base=functools.partial(BASE, observe="logits"), probe=READ, width=3)
    with pytest.raises(UserError, match=r"^\.probe\.draws: is 4"):
        IdentityConditioned(base=BASE, probe=functools.partial(READ, draws=4), width=3)


# ---- told where tokens belong --------------------------------------------------------------------------------------


def test_tokens_go_where_those_of_a_good_guess_lie() -> None:
    torch.manual_seed(0)
    places, z = Places((16, 5)), torch.rand(8, 16, 5)
    orders = torch.rand(8, 16).argsort(1)
    shuffled = places.moved(z, orders)
    guess = z + 0.02 * torch.randn_like(z)
    assert torch.equal(places.moved(shuffled, aligned(shuffled, guess)), z)


def test_a_second_turn_sees_tokens_in_the_order_of_the_first(tmp_path: Path) -> None:
    """Patches of 4x4 come in any order: the first decoder gives their mean, from which the order is a guess."""
    places = Places((1, 8, 8), 4)

    def shuffle(z: Tensor) -> Tensor:
        return places.moved(z, torch.rand(len(z), 4).argsort(1))

    attack = Unshuffle(base=functools.partial(BASE, epochs=2), turns=1, patch=4)
    assert attack.requires == {"query", "aux", "clean"}
    access = hold(attack, noise=shuffle, x=X)
    found = attack.fit(access, tmp_path)
    assert len(found.links) == 2
    found.links[0] = lambda r: X[:16]  # type: ignore[call-overload]  # a first turn that was right
    assert torch.equal(found.ordered(shuffle(X[:16]), 1), X[:16])
    with torch.no_grad():
        assert found(shuffle(X[:16])).shape == (16, 1, 8, 8)


def test_bases_that_cannot_be_repeated() -> None:
    with pytest.raises(UserError, match=r"^\.base: must rebuild images from queries and aux alone"):
        Unshuffle(base=READ, turns=1, patch=1)
