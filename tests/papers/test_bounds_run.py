"""On Gaussian images with a linear edge: bounds lie below the MMSE, no attack does, and information is between."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from splitpriv.data.gaussian import Gaussian
from splitpriv.defenses.base import Defended
from splitpriv.defenses.noise import Noise
from splitpriv.measure.audit import Audit
from splitpriv.measure.measure import bounds
from splitpriv.stats import gaussian
from splitpriv.stats.bounds import entropy_bound
from splitpriv.stats.information import InfoNCE

DATA = Gaussian(size=6, samples=9000, std=0.1, length=2.0, nugget=0.2, test_share=0.3, seed=0, crop=0, flip=False,
                rotation=0.0)  # fmt: skip
FEATURES = 12
AUDIT = Audit(samples=2700, knn=False, k=3, gaussian=True, fairness=None, fisher=True, probes=FEATURES,
              infonce=partial(InfoNCE, width=64, batch=256, steps=150, lr=3e-3))  # fmt: skip


class Linear(nn.Module):
    """z = W x, one matrix; its cloud guesses nothing."""

    def __init__(self, d: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.edge = nn.Sequential(nn.Flatten(), nn.Linear(d, FEATURES, bias=False))
        self.cloud = nn.Linear(FEATURES, 2)


def lmmse(x: Tensor, z: Tensor, seen: Tensor) -> Tensor:
    """The linear attack that an adversary learns from its own pairs (x, z), on the releases it has `seen`."""
    one = torch.ones(len(z), 1, dtype=z.dtype)
    weight = torch.linalg.lstsq(torch.cat([z, one], 1), x).solution
    return torch.cat([seen, torch.ones(len(seen), 1, dtype=z.dtype)], 1) @ weight


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5])
def test_bounds_below_mmse_below_attacks(sigma: float) -> None:
    cov = torch.from_numpy(DATA.covariance())
    prior = float(np.linalg.inv(DATA.covariance()).trace())
    spec = DATA.spec
    model = Defended(Linear(len(cov)), {"noise": Noise(sigma=sigma)}, spec).eval().requires_grad_(False)  # type: ignore[arg-type]
    pools = DATA.pools(None)  # type: ignore[arg-type]
    splits = {"train": pools["train"], "victims": pools["test"]}
    weight = model.net.edge[1].weight.double()
    mmse, truth = gaussian.mmse(cov, weight, sigma), gaussian.mutual_information(cov, weight, sigma)

    torch.manual_seed(1)
    found = {
        **AUDIT.facts(model, splits, spec),
        **{f"bound/{k}": v for k, v in bounds(model, splits["train"], spec).items()},
    }
    (x, z), (victims, seen) = (
        (s.images.flatten(1).double(), model.release(s.images).double()) for s in splits.values()
    )
    guess = lmmse(x, z, seen)
    best = 0.5 + (seen - 0.5 * weight.sum(1)) @ torch.linalg.solve(
        weight @ cov @ weight.mT + sigma**2 * torch.eye(FEATURES, dtype=torch.float64), weight @ cov
    )
    attack, optimum = ((r - victims).square().mean() for r in (guess, best))
    van_trees, cem = found["bound/van_trees_mse"], found["bound/cem_mse"]
    print(f"\nsigma {sigma}: van Trees {van_trees:.5f}, CEM {cem:.5f} <= MMSE {mmse:.5f} <= LMMSE attack {attack:.5f}; "
          f"1/dFIL {found['bound/dfil_mse_unbiased']:.5f}; information {found['information/infonce_nats']:.2f} <= "
          f"{truth:.2f} <= {found['information/gaussian_nats']:.2f}")  # fmt: skip

    assert 0 < van_trees <= mmse
    assert van_trees == pytest.approx(1 / (float(weight.square().sum()) / (36 * sigma**2) + prior / 36), rel=1e-5)
    assert 0 < cem <= mmse
    assert cem == pytest.approx(entropy_bound(gaussian.conditional_entropy(cov, weight, sigma), len(cov)), rel=0.02)
    assert attack >= optimum, "on the same releases, what is learned from samples is not better than E[x|z]"
    assert attack >= 0.98 * mmse, "2700 victims estimate a mean error to about 1 %"
    assert attack < 1.05 * mmse, "the attack works"
    assert found["information/infonce_nats"] <= truth + 0.05
    assert found["information/infonce_nats"] > 0.7 * min(truth, math.log(256)) - 0.05
    assert truth == pytest.approx(found["information/gaussian_nats"], rel=0.03)


def test_the_unbiased_bound_is_not_one_for_this_attack() -> None:
    """With much noise the best attack falls back on the prior, and goes below 1 / dFIL."""
    cov, sigma = torch.from_numpy(DATA.covariance()), 0.5
    weight = Linear(len(cov)).edge[1].weight.detach().double()
    assert 36 * sigma**2 / float(weight.square().sum()) > 5 * gaussian.mmse(cov, weight, sigma)


def test_the_data_set_states_its_own_fisher_information() -> None:
    assert DATA.spec.fisher == pytest.approx(float(np.linalg.inv(DATA.covariance()).trace()), rel=1e-9)
