"""Distance correlation: golden numbers, closed-form facts, gradients at the edges."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv.stats.dcor import dcor, dcor2_unbiased


def grid(n, d):
    """The deterministic pseudo-data behind the golden numbers."""
    i, j = torch.arange(1, n + 1, dtype=torch.float64)[:, None], torch.arange(1, d + 1, dtype=torch.float64)
    return torch.sin(i * j + 0.3 * j) + 0.1 * torch.cos(0.7 * i + j)


def test_golden_number():
    x = grid(16, 5)
    assert dcor(x, x[:, :2] ** 2).item() == pytest.approx(0.5794795510592274, abs=1e-10)
    assert dcor(x.float(), (x[:, :2] ** 2).float()).item() == pytest.approx(0.5794795510592274, abs=1e-6)


def test_a_scaled_shifted_copy_has_one():
    x = grid(16, 5)
    for z in (x, 3 - 2 * x, 1e-6 * x, 1e6 * x):
        assert dcor(x, z).item() == pytest.approx(1.0, abs=1e-9)


def test_sees_dependence_without_correlation():
    """Squared distances would give 0 here."""
    s = torch.linspace(-1, 1, 41, dtype=torch.float64)[:, None]
    assert dcor(s, s**2).item() == pytest.approx(0.4919084917907174, abs=1e-10)
    assert dcor(s.float(), s.float() ** 2).item() == pytest.approx(0.4919084917907174, abs=1e-5)


def test_is_the_plain_definition():
    x, z = grid(12, 4), grid(12, 7) ** 2
    a, b = torch.cdist(x, x), torch.cdist(z, z)
    a, b = (m - m.mean(0) - m.mean(1, keepdim=True) + m.mean() for m in (a, b))
    expected = (a * b).mean().sqrt() / ((a * a).mean().sqrt() * (b * b).mean().sqrt()).sqrt()
    assert dcor(x, z).item() == pytest.approx(expected.item(), abs=1e-7)


def test_rotation_and_batch_order_do_not_matter():
    x, z = grid(12, 4), grid(12, 4) ** 2
    rotation = torch.linalg.qr(grid(4, 4)).Q
    order = torch.arange(11, -1, -1)
    assert dcor(x, z @ rotation).item() == pytest.approx(dcor(x, z).item(), abs=1e-9)
    assert dcor(x[order], z[order]).item() == pytest.approx(dcor(x, z).item(), abs=1e-9)


def test_images_are_flattened():
    x, z = grid(8, 12), grid(8, 6) ** 2
    assert dcor(x.view(8, 3, 2, 2), z.view(8, 6, 1, 1)).item() == dcor(x, z).item()


def test_gradient():
    x, z = grid(7, 3), (grid(7, 2) ** 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: dcor(x, v), z)
    assert torch.autograd.gradcheck(lambda v: dcor2_unbiased(x, v), z)


@pytest.mark.parametrize("z", [torch.zeros(8, 3), torch.ones(8, 3) * 7, torch.eye(8)[:, :1].expand(8, 3)])
def test_constant_and_repeated_features_have_finite_gradients(z):
    z = z.clone().requires_grad_()
    value = dcor(grid(8, 4).float(), z)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()
    assert z.grad.abs().max() < 10


def test_a_constant_feature_has_none():
    assert dcor(grid(8, 4), torch.full((8, 3), 7.0, dtype=torch.float64)).item() < 1e-5


def test_unbiased_is_zero_on_average_where_the_v_statistic_is_not():
    generator = torch.Generator().manual_seed(0)
    draws = [(torch.randn(12, 4, generator=generator), torch.randn(12, 3, generator=generator)) for _ in range(300)]
    unbiased = torch.stack([dcor2_unbiased(x, z) for x, z in draws])
    assert unbiased.mean().abs() < 4 * unbiased.std() / 300**0.5
    assert torch.stack([dcor(x, z) for x, z in draws]).mean() > 0.3


def test_unbiased_of_a_copy_is_one_and_needs_four():
    assert dcor2_unbiased(grid(16, 5), grid(16, 5)).item() == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(ValueError, match="at least 4"):
        dcor2_unbiased(grid(3, 5), grid(3, 5))


def test_needs_no_host():
    with FakeTensorMode():
        z = torch.rand(8, 4, 2, 2, requires_grad=True)
        dcor(torch.rand(8, 3, 5, 5), z).backward()
        assert z.grad is not None
