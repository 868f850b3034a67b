"""On Gaussian images with a linear edge all is known: no attack beats the MMSE, and CEM's bound lies below it."""

from __future__ import annotations

import os

import pytest
import torch
from small import execute

from splitpriv import config
from splitpriv.run.parts import assemble, make_model
from splitpriv.stats import bounds, gaussian
from splitpriv.store import Store
from splitpriv.store.state import read_state

RUN = (
    "dataset=gaussian", "dataset.samples=4000", "backbone=linear", "backbone.features=16", "split.at=1",
    "defense=[noise]", "defense.noise.sigma=0.05", "attack=[decoder,rmle]", "decoder@attack.decoder.net=conv",
    "attack.decoder.net.width=8", "attack.decoder.epochs=25", "attack.decoder.batch=64", "attack.decoder.lr=0.005",
    "attack.rmle.steps=60", "attack.rmle.lr=0.02", "attack.rmle.tv=[0.1,1]", "optim.epochs=2", "protocol.attacked=600",
    "measure.latency_repeats=1",
)  # fmt: skip


@pytest.mark.slow  # test_bounds_run.py says the same of fewer victims
def test_attack_above_mmse_above_bound() -> None:
    cfg = config.compose(RUN)
    store = Store(os.environ["SPLITPRIV_OUTPUTS"])
    row = execute(cfg, store)
    dataset = assemble(cfg).dataset
    model = make_model(cfg, dataset)
    model.load_state_dict(read_state(store.home("fit", row["fit"][-1]) / "weights.pt")["parts"]["model"])
    weight, cov = model.net.edge.linear.fc.weight.detach(), torch.from_numpy(dataset.covariance())
    mmse = gaussian.mmse(cov, weight, 0.05)
    exact = bounds.entropy_bound(gaussian.conditional_entropy(cov, weight, 0.05), len(cov))
    best = min(row["privacy/decoder/mse"], row["privacy/rmle/mse"])
    print(f"\nprior variance {cov.diagonal().mean():.5f}  best attack {best:.5f}  MMSE {mmse:.5f}  "
          f"CEM's bound: exact {exact:.5f}, estimated {row['bound/cem_mse']:.5f}")  # fmt: skip
    assert 0.97 * mmse < best < 2 * mmse, "600 victims estimate a mean error to about 3 %"
    assert exact < mmse
    assert abs(row["bound/cem_mse"] / exact - 1) < 0.05
    assert row["floor/mean_image/mse"] > best
