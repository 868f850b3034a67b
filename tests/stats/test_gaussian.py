import math

import pytest
import torch

from splitpriv.stats import gaussian


def test_one_dimension_by_hand():
    cov, weight = torch.tensor([[2.0]]), torch.tensor([[3.0]])
    assert gaussian.mmse(cov, weight, 0.5) == pytest.approx(1 / (1 / 2 + 9 / 0.25))
    assert gaussian.entropy(cov) == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 2))
    assert gaussian.mutual_information(cov, weight, 0.5) == pytest.approx(0.5 * math.log(1 + 18 / 0.25))
    posterior = 0.5 * math.log(2 * math.pi * math.e / (1 / 2 + 9 / 0.25))
    assert gaussian.conditional_entropy(cov, weight, 0.5) == pytest.approx(posterior)


def test_no_linear_attack_beats_the_mmse_and_the_best_reaches_it():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(4, 4, generator=g, dtype=torch.float64)
    cov, weight = root @ root.mT, torch.randn(3, 4, generator=g, dtype=torch.float64)
    x = torch.randn(50_000, 4, generator=g, dtype=torch.float64) @ root.mT
    z = x @ weight.mT + 0.7 * torch.randn(50_000, 3, generator=g, dtype=torch.float64)
    best = torch.linalg.lstsq(z, x).solution
    measured = float((z @ best - x).square().mean())
    assert measured == pytest.approx(gaussian.mmse(cov, weight, 0.7), rel=0.02)


def test_limits():
    cov, weight = torch.diag(torch.tensor([1.0, 4.0])), torch.eye(2)
    assert gaussian.mmse(cov, weight, 1e6) == pytest.approx(2.5)
    assert gaussian.mmse(cov, weight, 1e-5) == pytest.approx(0, abs=1e-9)
    assert gaussian.conditional_entropy(cov, weight, 1e6) == pytest.approx(gaussian.entropy(cov))
