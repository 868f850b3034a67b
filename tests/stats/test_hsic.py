"""HSIC, its normalised form, COCO and Pearson: golden numbers, closed forms, gradients, no question to the device."""

from __future__ import annotations

import pytest
import torch
from test_dcor import grid
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv.stats.hsic import coco, gaussian_kernel, hsic, label_kernel, nhsic
from splitpriv.stats.pearson import pearson

X = grid(16, 5)
Y = X[:, :2] ** 2
K, L = gaussian_kernel(X, 5.0), gaussian_kernel(Y, 5.0)
H = torch.eye(16, dtype=torch.float64) - 1 / 16


def test_golden_numbers() -> None:
    assert nhsic(K, L).item() == pytest.approx(1.8394400430305113, abs=1e-9)
    assert nhsic(K, K).item() == pytest.approx(7.8860112247621394, abs=1e-9)


def test_hsic_is_the_plain_definition_and_zero_for_a_constant() -> None:
    assert hsic(K, L).item() == pytest.approx(torch.trace(K @ H @ L @ H).item() / 15**2, rel=1e-12)
    assert hsic(K, gaussian_kernel(torch.ones(16, 3), None)).item() == pytest.approx(0, abs=1e-15)


def test_coco_takes_the_largest_singular_value_and_not_the_frobenius_norm_of_public_code() -> None:
    product = H @ K @ H @ H @ L @ H
    largest = torch.linalg.svdvals(product)[0].sqrt().item() / 16
    assert coco(K, L).item() == pytest.approx(largest, rel=1e-6)
    y = torch.arange(16) % 4
    plain = torch.linalg.svdvals(H @ K @ H @ label_kernel(y))[0].sqrt().item() / 16
    assert coco(K, label_kernel(y)).item() == pytest.approx(plain, rel=1e-6)
    frobenius = (H @ K @ H @ label_kernel(y)).norm().sqrt().item() / 16
    assert frobenius > 1.02 * plain


def test_the_median_width_does_not_see_the_scale() -> None:
    assert torch.allclose(gaussian_kernel(X, None), gaussian_kernel(0.02 * X + 5, None), atol=1e-9)


def test_pearson_is_the_root_mean_square_of_all_correlations() -> None:
    r = torch.corrcoef(torch.cat([X, Y], 1).T)[:5, 5:]
    assert pearson(X, Y).item() == pytest.approx(r.square().mean().sqrt().item(), rel=1e-5)
    s = torch.linspace(-1, 1, 41)[:, None]
    assert pearson(s, 3 - 2 * s).item() == pytest.approx(1, abs=1e-5)
    assert pearson(s, s**2).item() < 1e-3  # blind to what is not linear
    assert pearson(s, torch.ones(41, 2)).item() < 1e-5


@pytest.mark.parametrize("measure", [hsic, nhsic, coco])
def test_gradients(measure: object) -> None:
    def value(v: Tensor) -> Tensor:
        return measure(K[:8, :8], gaussian_kernel(v, 1.0))  # type: ignore[operator]

    assert torch.autograd.gradcheck(value, Y[:8].clone().requires_grad_(), atol=1e-4)


def test_constant_features_have_finite_gradients_and_nothing_needs_the_host() -> None:
    for measure in (hsic, nhsic, coco):
        z = torch.ones(8, 3, requires_grad=True)
        (measure(K[:8, :8], gaussian_kernel(z, 5.0)) + pearson(X[:8], z)).backward()
        assert torch.isfinite(z.grad).all()
        with FakeTensorMode():
            fake = torch.rand(8, 3, requires_grad=True)
            measure(gaussian_kernel(torch.rand(8, 4), None), gaussian_kernel(fake, None)).backward()
