"""He et al., IoT-J 2020: noise and dropout of the feature at deployment, and what many releases give away."""

from __future__ import annotations

import pytest
import torch

from splitpriv.config import compose
from splitpriv.defenses.base import Defense
from splitpriv.defenses.dropout import Dropout
from splitpriv.defenses.noise import Laplace, Noise
from splitpriv.targets import build


@pytest.mark.parametrize("rate", [0.2, 0.6, 0.9])
def test_dropout_is_not_rescaled_so_the_mean_shrinks(rate: float) -> None:
    torch.manual_seed(0)
    z = torch.full((400, 100), 2.0)
    released = Dropout(rate=rate).eval().after_edge(z)
    assert set(released.unique().tolist()) == {0.0, 2.0}
    assert released.mean().item() == pytest.approx(2 * (1 - rate), abs=0.02)


@pytest.mark.parametrize("releases", [1, 4, 16])
def test_the_union_of_m_releases_misses_a_feature_with_probability_rate_to_the_m(releases: int) -> None:
    torch.manual_seed(0)
    z, defense = torch.ones(40, 1000), Dropout(rate=0.8).eval()
    seen = torch.stack([defense.after_edge(z) for _ in range(releases)]).amax(0)
    assert (seen == 0).float().mean().item() == pytest.approx(0.8**releases, abs=0.01)


@pytest.mark.parametrize(("defense", "variance"), [(Noise(sigma=0.8), 0.64), (Laplace(scale=0.5), 2 * 0.25)])
def test_noise_has_its_variance_and_averaging_m_releases_divides_it_by_m(defense: Defense, variance: float) -> None:
    torch.manual_seed(0)
    z = torch.rand(40, 1000)
    releases = torch.stack([defense.eval().after_edge(z) for _ in range(16)])
    assert (releases[0] - z).var().item() == pytest.approx(variance, rel=0.05)
    assert (releases.mean(0) - z).var().item() == pytest.approx(variance / 16, rel=0.05)


def test_the_shipped_settings_reach_the_mechanisms() -> None:
    chain = compose(["defense=[noise,laplace,dropout]"])["defense"]
    noise, laplace, dropout = (build(node, f"defense.{name}")() for name, node in chain.items())
    assert (noise.noise_std, laplace.noise_std, dropout.rate) == (0.025, pytest.approx(0.1 * 2**0.5), 0.2)
