"""Searches under a prior: what the release does not show comes from the prior, which is learned once for all chains."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from holders import folder, hold
from torch import Tensor, nn

from splitpriv import config
from splitpriv.attacks.base import Attack
from splitpriv.attacks.deep_prior import DeepPrior
from splitpriv.attacks.latent import Latent
from splitpriv.attacks.matching import Likelihood
from splitpriv.attacks.pnp import Pnp, descended
from splitpriv.attacks.priors import DenoiserPrior, VaePrior
from splitpriv.nets.image_priors import DeepDecoders, Denoiser, Vae
from splitpriv.run.prepare import prepare
from splitpriv.types import UserError

SEARCH: dict[str, Any] = {"lr": 0.05, "tune": 8, "batch": 16, "draws": 1, "tolerance": 0.05}
DENOISER = functools.partial(DenoiserPrior, width=8, depth=1, least=0.02, most=0.5, epochs=20, batch=32, lr=0.01)
VAE = functools.partial(VaePrior, width=4, size=16, beta=1.0, spread=0.1, epochs=40, batch=32, lr=0.01)


def pnp(**changes: Any) -> Pnp:
    settings = {
        "base": None,
        "prior": DENOISER,
        "strength": [1.0],
        "most": 0.5,
        "least": 0.02,
        "levels": 8,
        "steps": 10,
    }
    return Pnp(**{**SEARCH, **settings, **changes})


def latent(**changes: Any) -> Latent:
    return Latent(**{**SEARCH, "prior": VAE, "strength": [0.1], "starts": 64, "steps": 60, **changes})


def deep(**changes: Any) -> DeepPrior:
    return DeepPrior(**{**SEARCH, "width": 24, "depth": 1, "strength": [0.0], "steps": 150, "lr": 0.02, **changes})


def pictures(count: int, seed: int = 0) -> Tensor:
    """Smooth random images, (count, 1, 8, 8)."""
    coarse = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (8, 8), mode="bilinear", align_corners=True)


def noisy(z: Tensor, sigma: float = 0.01) -> Tensor:
    return z + sigma * torch.randn_like(z)


def quarter(x: Tensor) -> Tensor:
    """An edge that sends one pixel in four."""
    return x[..., ::2, ::2]


def error(attack: Attack, home: Path) -> float:
    """MSE on 16 images that aux does not hold."""
    torch.manual_seed(0)
    access, victims = hold(attack, edge=quarter, noise=noisy, x=pictures(192)), pictures(16, seed=9)
    found = attack.fit(access, folder(home / "key"))(noisy(quarter(victims)))
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.shape == victims.shape
    return float((found - victims).square().mean())


FLOOR = float((pictures(192).mean(0) - pictures(16, seed=9)).square().mean())


def test_the_denoiser_fills_in_what_the_release_does_not_show(tmp_path: Path) -> None:
    on, off = error(pnp(), tmp_path / "on"), error(pnp(strength=[0.0]), tmp_path / "off")
    assert on < 0.3 * off
    assert on < 0.5 * FLOOR


def test_latent_codes_are_those_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on = error(latent(), tmp_path / "on")
    assert on < 0.5 * FLOOR
    monkeypatch.setattr(VaePrior, "learned", lambda self, access, home: self.fresh(access).eval().requires_grad_(False))
    assert error(latent(), tmp_path / "off") > 2 * on


def test_an_untrained_net_prefers_images_to_anything_else(tmp_path: Path) -> None:
    assert error(deep(), tmp_path / "deep") < 0.3 * error(pnp(strength=[0.0]), tmp_path / "pixels")


@pytest.mark.parametrize("make", [pnp, latent, deep])
def test_the_strength_is_chosen_on_aux(make: Callable[..., Attack], tmp_path: Path) -> None:
    attack = make(strength=[1e6, 0.1, 1e5])
    report = attack.fit(hold(attack, edge=quarter, noise=noisy, x=pictures(96)), tmp_path).report
    assert report["strength"] == 0.1
    assert len(report["tuning_mse"]) == 3
    with pytest.raises(UserError, match="strength"):
        make(strength=[])


def test_the_likelihood_knows_the_size_of_the_noise() -> None:
    x, louder = pictures(192), functools.partial(noisy, sigma=0.2)
    access = hold(deep(), noise=louder, x=x)
    likelihood = Likelihood(access, torch.arange(192), 1)
    assert likelihood.power == pytest.approx(0.04, rel=0.05)
    assert float(likelihood(x, louder(x)).mean()) == pytest.approx(32, rel=0.05)  # half a nat a value
    assert Likelihood(access, torch.arange(192), 16).power == pytest.approx(0.04 / 16, rel=0.05)


def test_a_prior_is_learned_once_for_all_chains(tmp_path: Path) -> None:
    built: list[Mapping[str, Any]] = []
    kept: dict[str, Path] = {}

    def share(what: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        if str(what) not in kept:
            built.append(what)
            kept[str(what)] = folder(tmp_path / f"prior{len(built)}")
            build(kept[str(what)])
        return kept[str(what)]

    found = []
    for edge in (quarter, lambda x: x.flip(-1)):
        attack = pnp(prior=functools.partial(DENOISER, epochs=1))
        access = hold(attack, edge=edge, x=pictures(48))
        access._shared = share
        found.append(attack.prior.learned(access, tmp_path).state_dict())
    assert len(built) == 1
    assert all(torch.equal(v, found[1][k]) for k, v in found[0].items())
    other = DENOISER(epochs=1, width=4)
    access._shared = share
    other.learned(access, tmp_path)
    assert len(built) == 2


def test_the_stage_of_a_prior_hangs_on_the_images_alone() -> None:
    def key(*overrides: str) -> str:
        return prepare(config.compose(["attack=[pnp]", *overrides])).plan.priors["pnp"]

    assert key() == key("defense=[noise]", "backbone.width=8", "seed=1", "attack.pnp.steps=3")
    others = ("protocol.limit.aux=100", "attack_seed=1", "attack.pnp.prior.width=8")
    assert len({key(), *map(key, others)}) == 4


def test_a_finished_batch_is_not_searched_again(tmp_path: Path) -> None:
    attack, x = deep(steps=4, batch=4), pictures(48)
    access, releases = hold(attack, edge=quarter, x=x), quarter(x[:8])
    first = attack.fit(access, tmp_path)
    images = first(releases)
    again = attack.fit(access, tmp_path)
    again.descend = lambda r, strength: pytest.fail("searched again")
    assert torch.equal(again(releases), images)
    assert again.report == first.report


@pytest.mark.parametrize("image", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 5, 9)])
def test_nets_of_any_image(image: tuple[int, int, int]) -> None:
    x = torch.rand(3, *image)
    assert Denoiser(image, 4, 2)(x, torch.full((3,), 0.1)).shape == x.shape
    vae = Vae(image, 4, 6)
    assert vae.decode(vae.encode(x)[0]).shape == x.shape
    net = DeepDecoders(image, 6, 2, 3)
    assert net().shape == x.shape
    net().square()[0].sum().backward()
    assert all(p.grad is not None and not p.grad[1:].any() for p in net.parameters())  # each image has its own net


def test_a_gradient_in_another_order_of_memory_steps_alike() -> None:
    """A fused optimiser takes values in their order in memory: behind a network in channels_last that was another."""
    target, grey = torch.rand(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)

    def distance(x: Tensor, order: torch.memory_format) -> Tensor:
        return (x.contiguous(memory_format=order) - target.contiguous(memory_format=order)).square().sum((1, 2, 3))

    orders = (torch.contiguous_format, torch.channels_last)
    plain, last = (descended(lambda x, order=order: distance(x, order), grey, 30, 0.05) for order in orders)
    assert torch.allclose(plain, last, atol=1e-6)
