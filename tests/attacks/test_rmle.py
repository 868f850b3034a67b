"""rMLE: it inverts what can be inverted, image by image, and leaves the target as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from splitpriv.attacks import rmle
from splitpriv.attacks.rmle import Rmle, variation

SETTINGS: dict[str, Any] = {
    "steps": 150,
    "lr": 0.05,
    "amsgrad": True,
    "eps": 1e-8,
    "tv": [0.0],
    "tune": 8,
    "tv_power": 1.0,
    "box": "clamp",
    "relative": False,
    "restarts": 1,
    "match": "draw",
    "eot": 1,
    "mask": False,
    "draws": 1,
    "batch": 8,
    "tolerance": 0.05,
}


def attack(**changed: Any) -> Rmle:
    return Rmle(**{**SETTINGS, **changed})


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def mixing() -> nn.Module:
    """An orthogonal map of all pixels: invertible, and its inverse is as well conditioned as can be."""
    matrix = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(1)))[0]
    return (
        nn.Sequential(nn.Flatten(), nn.Linear(64, 64))
        .requires_grad_(False)
        .apply(lambda m: m.weight.copy_(matrix) if isinstance(m, nn.Linear) else None)
    )


@pytest.mark.parametrize("box", ["clamp", "sigmoid"])
def test_it_inverts_an_invertible_linear_edge(world, tmp_path, box):
    here, search = world(edge=mixing()), attack(box=box, lr=0.05 if box == "clamp" else 0.3)
    x = here.aux[:8]
    reconstructor = search.fit(here.access(search), tmp_path)
    with torch.no_grad():
        found = reconstructor(here.release(x))
    assert (found - x).square().mean() < 1e-3 and not found.requires_grad
    assert found.min() >= 0 and found.max() <= 1
    curve = reconstructor.report["feature_loss"]
    assert curve[-1] < 1e-2 * curve[0] and reconstructor.report["converged"] is True
    assert here.intercepted == 0


def test_a_search_cut_short_has_not_converged(world, tmp_path):
    here, search = world(edge=mixing()), attack(steps=8, lr=0.01)
    reconstructor = search.fit(here.access(search), tmp_path)
    reconstructor(here.release(here.aux[:8]))
    assert reconstructor.report["converged"] is False


@pytest.mark.parametrize("restarts", [1, 3])
def test_an_image_does_not_depend_on_its_batch(world, tmp_path, restarts):
    edge = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    here, found = world(edge=edge), []
    for batch in (1, 8):
        search = attack(steps=20, eps=1e-3, batch=batch, restarts=restarts, tv=[0.1], tv_power=2.0)
        reconstructor = search.fit(here.access(search), folder(tmp_path / str(batch) / "key"))
        found.append(reconstructor(here.release(here.aux[:8]).detach()))
    assert (found[0] - found[1]).abs().max() < 1e-5


def test_restarts_are_chosen_by_feature_loss_per_image(world, tmp_path, monkeypatch):
    search = attack(restarts=3, batch=4)
    reconstructor = search.fit(world().access(search), tmp_path)
    losses = torch.tensor([[3.0, 1, 2, 1], [1, 2, 3, 1], [2, 3, 1, 1]])
    starts = iter(range(3))

    def descend(r, start, bar):
        k = next(starts)
        assert (start == 0.5).all() if k == 0 else start.std() > 0.1
        return torch.full((4, 1, 8, 8), float(k)), torch.stack([losses[k].flip(0), losses[k]])

    monkeypatch.setattr(reconstructor, "descend", descend)
    found = reconstructor(torch.rand(4, 1, 8, 8))
    assert found[:, 0, 0, 0].tolist() == [1, 0, 2, 0]
    assert reconstructor.report["feature_loss"][-1] == 1


def test_eot_averages_the_gradient(world, tmp_path):
    def spread(eot: int) -> float:
        here, search = world(noise=lambda z: z + torch.randn_like(z)), attack(eot=eot)
        reconstructor = search.fit(here.access(search), tmp_path)
        x = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
        gradients = []
        for seed in range(40):
            torch.manual_seed(seed)
            gradients.append(torch.autograd.grad(reconstructor._distance(x, torch.zeros(1, 1, 8, 8)).sum(), x)[0])
        return float(torch.stack(gradients).std(0).mean())

    assert spread(16) == pytest.approx(spread(1) / 4, rel=0.15)


def test_the_target_is_left_as_it_was(world, tmp_path):
    edge = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).eval()
    before = {k: v.clone() for k, v in edge.state_dict().items()}
    here, search = world(edge=edge), attack(steps=3)
    search.fit(here.access(search), tmp_path)(here.release(here.aux[:3]).detach())
    assert all(p.grad is None for p in edge.parameters())
    assert all(torch.equal(v, before[k]) for k, v in edge.state_dict().items())


def test_a_finished_batch_is_not_searched_again(world, tmp_path, monkeypatch):
    here, search = world(noise=lambda z: z + 0.1 * torch.randn_like(z)), attack(steps=5, batch=4)
    releases = here.release(here.aux[:8])
    whole = search.fit(here.access(search), folder(tmp_path / "a" / "key"))(releases)
    calls, real = [], rmle.Search._best

    def killed(self, r, bar):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, r, bar)

    monkeypatch.setattr(rmle.Search, "_best", killed)
    with pytest.raises(KeyboardInterrupt):
        search.fit(here.access(search), folder(tmp_path / "b" / "key"))(releases)
    again = search.fit(here.access(search), folder(tmp_path / "b" / "key"))
    assert torch.equal(again(releases), whole) and len(calls) == 3


def test_total_variation_in_closed_form():
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    assert variation(ramp, 1.0).item() == pytest.approx(12 / 16, abs=1 / 255)
    assert variation(2 * ramp, 2.0).item() == pytest.approx(4 * 12 / 16, abs=1e-4)
    flat = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    assert torch.autograd.grad(variation(flat, 1.0).sum(), flat)[0].abs().max() == 0
    assert torch.isfinite(variation(torch.rand(2, 5, 1, 1), 1.0)).all()


def test_relative_distances_do_not_depend_on_the_scale_of_a_release(world, tmp_path):
    found = {}
    for relative in (False, True):
        for factor in (1.0, 16.0):
            here, search = (
                world(edge=lambda x, factor=factor: factor * x),
                attack(tv=[1.0], tv_power=2.0, relative=relative),
            )
            home = folder(tmp_path / f"{relative}{factor}" / "key")
            found[relative, factor] = search.fit(here.access(search), home)(here.release(here.aux[:4]))
    assert torch.allclose(found[True, 1.0], found[True, 16.0], atol=1e-4)
    assert not torch.allclose(found[False, 1.0], found[False, 16.0], atol=1e-2)


def test_total_variation_smooths(world, tmp_path):
    noisy = world().aux[:4] + 0.3 * torch.randn(4, 1, 8, 8)
    rough = {}
    for tv in (0.0, 1.0):
        search = attack(tv=[tv])
        home = folder(tmp_path / str(tv) / "key")
        rough[tv] = variation(search.fit(world().access(search), home)(noisy), 1.0).mean()
    assert rough[1.0] < 0.5 * rough[0.0]


def test_the_weight_of_the_prior_is_chosen_on_aux(world, tmp_path):
    here, search = world(edge=lambda x: x[..., ::2, ::2]), attack(tv=[0.0, 0.3, 100.0], relative=True, steps=60)
    reconstructor = search.fit(here.access(search), tmp_path)
    assert search.requires == {"edge", "query", "aux"}
    assert here.intercepted == 0
    assert reconstructor.tv == 0.3
    reconstructor(here.release(here.aux[:4]))
    errors = reconstructor.report["tuning_mse"]
    assert len(errors) == 3
    assert errors[1] == min(errors)
    assert attack(tv=[1.0]).requires == {"edge"}


def test_it_matches_the_mean_release_not_each_release(world, tmp_path):
    """Dropout makes the two differ: at the truth the mean release is met, while every single one is far off."""
    here, search = world(noise=lambda z: 2 * z * (torch.rand_like(z) < 0.5)), attack(eot=400)
    x = here.aux[:2]
    reconstructor = search.fit(here.access(search), tmp_path)
    each = (here.release(x) - x).square().mean()
    assert reconstructor._distance(x, x).mean() < 0.02 * each


def test_noise_that_the_chain_declares_is_no_distance(world, tmp_path):
    """At the truth, the release of a declared noise is met but for the noise in the release itself, not twice."""
    here, x = world(noise=lambda z: z + torch.randn_like(z)), world().aux[:48]
    r = here.release(x)
    found = {}
    for match in ("mean", "draw"):
        search = attack(match=match)
        found[match] = search.fit(here.access(search), tmp_path)._distance(x, r).mean()
    assert found["mean"] == pytest.approx(1, rel=0.05)
    assert found["draw"] == pytest.approx(2, rel=0.05)
    assert attack(match="mean").requires == {"edge", "expected"}
