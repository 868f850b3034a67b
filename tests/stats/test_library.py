"""The MMSE of a finite library is exact: no reconstruction beats it, and the posterior mean attains it."""

import math

import pytest
import torch

from splitpriv.stats import library


def drawn(images, signals, std, draws, seed=3):
    """(images, releases) of every image of the library, `draws` of each."""
    g = torch.Generator().manual_seed(seed)
    truth = images.repeat(draws, *[1] * (images.dim() - 1))
    z = signals.repeat(draws, *[1] * (signals.dim() - 1))
    return truth, z + std * torch.randn(z.shape, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("std", [0.3, 1.0, 3.0])
def test_the_posterior_mean_attains_the_mmse_and_nothing_beats_it(std):
    g = torch.Generator().manual_seed(0)
    images, weight = torch.rand(16, 1, 4, 4, generator=g), torch.randn(16, 5, generator=g)
    signals = torch.tanh(images.flatten(1) @ weight)
    found = library.mmse(images, signals, std, draws=400)
    truth, z = drawn(images, signals.double(), std, 400)
    best = (library.reconstruct(images, signals, z, std) - truth).square().mean()
    assert float(best) == pytest.approx(found.mse, rel=0.03)
    assert found.error < 0.02 * found.mse
    linear = torch.linalg.lstsq(torch.cat([z, torch.ones(len(z), 1)], 1), truth.double().flatten(1))
    fit = (torch.cat([z, torch.ones(len(z), 1)], 1) @ linear.solution).view_as(truth)
    nearest = images[torch.cdist(z, signals.double()).argmin(1)]
    assert min((fit - truth).square().mean(), (nearest - truth).square().mean()) > 0.99 * found.mse


def test_two_images_by_hand():
    images, signals = torch.tensor([[0.0], [1.0]]), torch.tensor([[-1.0], [1.0]])
    z = torch.tensor([[0.25]])
    assert library.posterior(signals, z, 0.5)[0, 1] == pytest.approx(1 / (1 + math.exp(-2 * 0.25 / 0.25)))
    # int N(z; 1, s^2) p(0|z) p(1|z) dz over both images, by quadrature
    grid = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    p = torch.sigmoid(2 * grid / 0.25)
    density = sum(0.5 * torch.exp(-0.5 * ((grid - m) / 0.5) ** 2) / (0.5 * math.sqrt(2 * math.pi)) for m in (-1, 1))
    exact = float((density * p * (1 - p)).sum() * (grid[1] - grid[0]))
    found = library.mmse(images, signals, 0.5, draws=20_000)
    assert found.mse == pytest.approx(exact, abs=4 * found.error)


def test_limits_and_entries_that_do_not_pass():
    images = torch.rand(8, 3, generator=torch.Generator().manual_seed(1))
    assert library.mmse(images, images, 1e-4, draws=4).mse == pytest.approx(0, abs=1e-12)
    far = library.mmse(images, images, 1e4, draws=4).mse
    assert far == pytest.approx(float(images.double().var(0, correction=0).mean()), rel=1e-3)
    hidden = torch.tensor([0.5, math.inf, 0.5])
    without = library.mmse(images, images[:, ::2], 0.5, draws=500)
    assert library.mmse(images, images, hidden, draws=500).mse == pytest.approx(without.mse, abs=5 * without.error)
