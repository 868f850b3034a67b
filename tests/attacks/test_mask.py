"""Mask-aware attacks: they use what the chain keeps, and nothing depends on what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from holders import folder, hold, mse, quadrants
from test_decoder import SETTINGS as DECODER
from test_rmle import SETTINGS as RMLE
from torch import Tensor

from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.rmle import Rmle, Search
from splitpriv.attacks.training import Marked, Standardise

X, _ = quadrants(64)
VICTIMS, _ = quadrants(32, seed=1)
FLOOR = mse(X.mean(0), VICTIMS)
LEFT = (torch.arange(8) < 4).float().expand(1, 8, 8)  # the left half is kept


def decoder(**changed: Any) -> Decoder:
    return Decoder(**{**DECODER, "mask": True, **changed})


def rmle(**changed: Any) -> Rmle:
    return Rmle(**{**RMLE, "mask": True, "steps": 30, "batch": 32, **changed})


@pytest.mark.parametrize(("shape", "doubled"), [((2, 3, 4), (4, 3, 4)), ((5,), (10,)), ((3, 4), (3, 8))])
def test_the_net_sees_values_and_what_carries_one(shape: tuple[int, ...], doubled: tuple[int, ...]) -> None:
    mask = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.4).float()
    r = torch.randn(7, *shape) * (torch.rand(7, *shape) > 0.5)
    marked, plain = Marked(shape, mask), Standardise(shape)
    for module in (marked, plain):
        module.measure([r[:4], r[4:]])
    out = marked(r)
    axis = 2 if len(shape) == 2 else 1
    values, kept = out.chunk(2, axis)
    assert marked.shape == doubled == tuple(out.shape[1:])
    assert torch.equal(values, plain(r) * mask)
    assert torch.equal(kept, ((r != 0) & (mask == 1)).float())


def test_a_mask_of_channels_is_spread_over_their_places() -> None:
    mask = torch.tensor([1.0, 0.0]).view(2, 1, 1)
    assert Marked((2, 3, 3), mask)(torch.ones(1, 2, 3, 3))[0, :, 0, 0].tolist() == [1, 0, 1, 0]


def test_rights_and_kinds() -> None:
    for made in (decoder, rmle):
        assert "mask" in made().requires and made(draws=4).adapts == {"mask", "draws"}
        assert "mask" not in made(mask=False).requires and made(mask=False).adapts == frozenset()


def test_the_mask_aware_decoder_reads_a_dropped_release_better(tmp_path: Path) -> None:
    """Where a value of 0 says something, a dropped one must be told from it: here it is a bright pixel's."""
    found = {}
    for mask in (True, False):
        torch.manual_seed(0)
        it = decoder(mask=mask, epochs=25, lr=0.02)
        access = hold(it, x=X, edge=lambda x: 0.5 - x, noise=lambda z: z * (torch.rand_like(z) > 0.6))
        found[mask] = min(it.fit(access, folder(tmp_path / str(mask) / "same")).report["held"])
    assert found[True] < 0.9 * found[False]
    assert found[True] < 0.5 * FLOOR


def test_it_does_not_beat_the_mean_image_on_what_says_nothing(tmp_path: Path) -> None:
    it = decoder(epochs=8)
    none = torch.zeros(1, 8, 8)
    inverse = it.fit(hold(it, x=X, mask=none), tmp_path)  # the mask withholds all there is
    assert mse(inverse(VICTIMS), VICTIMS) > 0.9 * FLOOR


@pytest.mark.parametrize("made", [decoder, rmle])
def test_what_the_mask_drops_changes_nothing(tmp_path: Path, made: Any) -> None:
    it = made(**({"epochs": 2} if made is decoder else {}))
    one, two = (it.fit(hold(it, x=X, mask=LEFT), folder(tmp_path / name / "key")) for name in "ab")
    other = VICTIMS * LEFT + 7 * (1 - LEFT)
    with torch.no_grad():
        clean = one(VICTIMS)
        assert torch.equal(clean, two(other))
        assert not torch.equal(clean, two(VICTIMS.flip(-1)))


def test_distances_are_means_over_kept_entries(tmp_path: Path) -> None:
    it = rmle()
    search = it.fit(hold(it, x=X, mask=LEFT), tmp_path)
    assert isinstance(search, Search)
    gap = search._distance(X[:3], torch.zeros(3, 1, 8, 8))
    assert torch.allclose(gap, X[:3, :, :, :4].square().flatten(1).mean(1), atol=1e-6)


def test_noise_in_dropped_entries_no_longer_drowns_the_prior(tmp_path: Path) -> None:
    """As shares of the grey image's distance, loud noise in dropped entries leaves nothing of the kept ones."""

    def noise(z: Tensor) -> Tensor:
        return z * LEFT + 30 * (1 - LEFT) * torch.randn_like(z)

    found = {}
    for mask in (True, False):
        it = rmle(mask=mask, relative=True, tv=[0.1])
        torch.manual_seed(1)
        search = it.fit(hold(it, x=X, noise=noise, mask=LEFT), folder(tmp_path / str(mask)))
        with torch.no_grad():
            found[mask] = mse(search(noise(VICTIMS)) * LEFT, VICTIMS * LEFT)
    assert found[True] < 0.2 * found[False]
