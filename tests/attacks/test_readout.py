"""A release whose entries lie in no order of places: what it tells linearly is read, and nets go on from there."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import pictures
from holders import folder, hold, mse
from test_autoinvert import lessen
from torch import Tensor

from splitpriv.attacks.suite import members, readout
from splitpriv.attacks.suite.autoinvert import AutoInvert
from splitpriv.attacks.suite.lab import Lab
from splitpriv.attacks.suite.plateau import Length
from splitpriv.attacks.suite.readout import Readout
from splitpriv.attacks.training import Standardise
from splitpriv.nets import inverters
from splitpriv.run.row import _named

ORDER = torch.randperm(64, generator=torch.Generator().manual_seed(1))
DENSE = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(2)))[0]


def plain(x: Tensor) -> Tensor:
    return (2 * x - 1).tanh()


def ordered(x: Tensor) -> Tensor:
    return plain(x).flatten(1)[:, ORDER].view_as(x)


def mixed(x: Tensor) -> Tensor:
    return (plain(x).flatten(1) @ DENSE).view_as(x)


def faint(z: Tensor) -> Tensor:
    return z + 0.02 * torch.randn_like(z)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    lessen(monkeypatch)
    monkeypatch.setitem(members.RUNGS, "plain", partial(inverters.folded, width=16, blocks=0, depth=0))


def suite(knowledge: str = "white") -> AutoInvert:
    return AutoInvert(tier="quick", knowledge=knowledge, queries=1)  # type: ignore[arg-type]


def lab_of(edge, home: Path) -> Lab:
    torch.manual_seed(0)
    access = hold(suite(), edge=edge, noise=faint, x=pictures(200))
    return Lab(access, 1, folder(home / "key"), edge=edge)


def decoded(lab: Lab) -> float:
    """The error of a decoder on images that it did not learn from."""
    made, x = members.decoder(lab, Length(96, 192), ("plain",)), pictures(24, seed=9)
    assert made.report.get("readout") is (None if lab.view is None else True)
    return mse(made(faint(lab.edge(x))), x)


@pytest.mark.parametrize("edge", [ordered, mixed])
def test_no_order_or_mixture_of_entries_protects_them(tmp_path, monkeypatch, edge):
    monkeypatch.setattr(readout, "BETTER", 0.3)  # for a training that is so short
    place = lab_of(edge, tmp_path / "read")
    error = decoded(place)
    assert place.view is not None and place.seen_shape == (1, 8, 8)
    monkeypatch.setattr(readout, "read", lambda lab, error: None)
    assert error < 0.6 * decoded(lab_of(edge, tmp_path / "unread"))


def test_a_release_that_nets_read_as_well_is_left_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(readout, "BETTER", 0.999)  # never ahead by as much
    place = lab_of(mixed, tmp_path / "beaten")
    decoded(place)
    assert place.view is None and place.seen_shape == (1, 8, 8)
    assert torch.equal(place.seen(mixed(pictures(4))), place.scale(mixed(pictures(4))))
    assert readout.read(lab_of(mixed, tmp_path / "before"), 1e-9) is None


def test_all_that_builds_on_it_sees_what_is_read_and_the_suite_has_a_name_of_its_own(tmp_path, monkeypatch):
    """Also where the edge is not known."""
    monkeypatch.setattr(readout, "BETTER", -9.0)
    attack = suite("black")
    access = hold(attack, edge=mixed, noise=faint, x=pictures(120))
    found = attack.fit(access, folder(tmp_path / "key"))
    assert found.lab.view is not None and found.report["decoder/readout"] is True
    refine = found.lab.made["refine"].found.trainee.net  # type: ignore[attr-defined]
    assert all(lift[0].map_shape == (1, 8, 8) for lift in refine.lifts)
    assert _named(attack, found.report) == "autoinvert-2 quick black readout"
    assert _named(attack, found.report | {"misled": True}) == "autoinvert-2 quick black readout unaided"
    assert _named(attack, {}) == "autoinvert-2 quick black"


def test_a_linear_release_without_noise_is_read_exactly():
    x, place = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(3)), Standardise((64,))
    linear = (x.flatten(1) @ DENSE) * 3 - 1
    place.measure([linear])
    found = Readout(place, (1, 8, 8))
    assert found.fit(x[:256], linear[:256], (x[256:], linear[256:])) < 1e-6
    torch.testing.assert_close(found(linear), x, atol=2e-3, rtol=0)
    torch.testing.assert_close(found.step(place(linear[:5]) - place(linear[5:10])), x[:5] - x[5:10], atol=4e-3, rtol=0)


def test_fewer_images_than_entries_give_the_same_regression():
    """By the images' products or by the entries', it is one formula: (R'R + a I)^-1 R'X = R' (R R' + a I)^-1 X."""
    generator = torch.Generator().manual_seed(4)
    x, lift = torch.rand(40, 1, 8, 8, generator=generator), torch.randn(64, 100, generator=generator)
    releases = x.flatten(1) @ lift
    place = Standardise((100,))
    place.measure([releases])
    found = Readout(place, (1, 8, 8))
    found.fit(x, releases, (x[:8], releases[:8]))
    told = place(releases) - place(releases).mean(0)
    power = (told @ told.T).double()
    best = min(readout.PENALTIES) * power.diagonal().mean()  # what was learned from is rebuilt best by the least
    inner = (told.T @ told).double() + best * torch.eye(100)
    weight = torch.linalg.solve(inner, told.T.double() @ (x - x.mean(0)).flatten(1).double())
    torch.testing.assert_close(found.weight.double(), weight, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_a_release_that_says_nothing_is_read_as_the_mean_image(constant):
    x, releases = pictures(30), torch.full((30, 64), constant)
    place = Standardise((64,))
    place.measure([releases])
    found = Readout(place, (1, 8, 8))
    found.fit(x, releases, (x, releases))
    torch.testing.assert_close(found(releases), x.mean(0).expand_as(x))


def test_a_large_release_is_read_as_a_smaller_image(tmp_path, monkeypatch):
    monkeypatch.setattr(readout, "LARGEST", 64 * 20)
    place = lab_of(mixed, tmp_path)
    found = readout.read(place, 9.0)
    assert found is not None and found.shape == (1, 4, 4)
    assert found(mixed(pictures(3))).shape == (3, 1, 4, 4)


def test_its_numbers_are_those_that_rows_were_made_by():
    """Another number is another suite: what `… readout` is called would have to change with it."""
    told = (readout.SIDE, readout.ENTRIES, readout.LARGEST, readout.PENALTIES, readout.IMAGES, readout.BETTER)
    assert told == (32, 2**16, 2**26, (1e-4, 1e-3, 1e-2, 1e-1, 1.0), 2048, 0.6)


def test_a_release_too_large_to_regress_on_is_left_to_nets(tmp_path, monkeypatch):
    monkeypatch.setattr(readout, "ENTRIES", 63)
    assert readout.read(lab_of(mixed, tmp_path), 9.0) is None
