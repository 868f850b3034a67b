import math
from pathlib import Path

import numpy as np
import pytest
import torch

from splitpriv.data.gaussian import Gaussian
from splitpriv.types import UserError


def gaussian(**changes):
    settings = {"size": 4, "samples": 20_000, "std": 0.1, "length": 2.0, "nugget": 0.01, "test_share": 0.2, "seed": 0}
    return Gaussian(crop=0, flip=False, rotation=0.0, **{**settings, **changes})


@pytest.fixture(scope="module")
def drawn():
    pools = gaussian().pools(Path("nowhere"))
    return (torch.cat([getattr(pools[p], f) for p in ("train", "test")]) for f in ("images", "y")), pools


def test_samples_have_the_stated_law(drawn):
    (x, y), pools = drawn
    side = torch.cat([pools[p].attributes["side"] for p in ("train", "test")])
    assert x.dtype == torch.float32
    assert x.shape == (20_000, 1, 4, 4)
    flat = x.flatten(1).double().numpy()
    sigma = gaussian().covariance()
    assert np.allclose(flat.mean(0), 0.5, atol=0.004)
    assert np.allclose(np.cov(flat.T), sigma, atol=5e-4)
    assert np.allclose(np.diag(sigma), 0.01)
    assert ((x > 0) & (x < 1)).double().mean() > 0.9999
    planes = gaussian().planes()
    assert abs(planes[0] @ sigma @ planes[1]) < 1e-12
    assert torch.equal(y, torch.from_numpy((flat - 0.5) @ planes[0] > 0).long())
    for bits in (y, side, y ^ side):
        assert abs(bits.double().mean() - 0.5) < 0.02


def test_entropy_is_that_of_sigma():
    data = gaussian()
    values = np.linalg.eigvalsh(data.covariance())
    assert data.spec.entropy == pytest.approx(0.5 * np.log(2 * math.pi * math.e * values).sum())
    white = gaussian(nugget=1.0)
    assert white.spec.entropy == pytest.approx(16 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.1)))
    assert white.spec.entropy > data.spec.entropy


def test_draws_come_from_the_seed():
    a, b, c = (gaussian(samples=50, seed=s).pools(Path("nowhere"))["train"] for s in (0, 0, 1))
    assert torch.equal(a.images, b.images)
    assert not torch.equal(a.images, c.images)
    assert len(a) == 40
    with pytest.raises(UserError, match=r"dataset\.nugget"):
        gaussian(nugget=1.5)
