"""SSIM against torchmetrics and against direct convolutions, in all three definitions."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import vmap

from splitpriv.stats import ssim as module
from splitpriv.stats.ssim import ssim

PADDINGS = ["reflect", "zero", "valid"]


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(6, 3, 9, 8, generator=generator)
    a = F.interpolate(low, size=(32, 28), mode="bilinear")
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def direct(a, b, border):
    """The definition, with a full 2-D window; `border` is None or a mode of F.pad."""
    channels = a.shape[1]
    g = torch.exp(-torch.arange(-5, 6, dtype=a.dtype).square() / (2 * 1.5**2))
    window = torch.outer(g, g)
    window = (window / window.sum()).expand(channels, 1, 11, 11)

    def blur(t):
        t = F.pad(t, (5, 5, 5, 5), border) if border else t
        return F.conv2d(t, window, groups=channels)

    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return score.mean((1, 2, 3))


def test_reflect_is_torchmetrics(pair):
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = pair
    theirs = structural_similarity_index_measure(b, a, data_range=1.0, reduction="none")
    assert (ssim(b, a, "reflect") - theirs).abs().max() < 2e-6


@pytest.mark.parametrize(("padding", "border"), [("reflect", "reflect"), ("zero", "constant"), ("valid", None)])
def test_each_padding_is_its_direct_convolution(pair, padding, border):
    a, b = (t.double() for t in pair)
    assert (ssim(a, b, padding) - direct(a, b, border)).abs().max() < 1e-12
    assert (ssim(a.float(), b.float(), padding) - direct(a, b, border)).abs().max() < 2e-6


def test_paddings_are_different_definitions(pair):
    scores = [ssim(*pair, padding).mean() for padding in PADDINGS]
    assert min(abs(p - q) for i, p in enumerate(scores) for q in scores[:i]) > 1e-3


@pytest.mark.parametrize("padding", PADDINGS)
def test_identical_images_score_one_and_the_score_is_symmetric(pair, padding):
    a, b = pair
    assert torch.allclose(ssim(a, a, padding), torch.ones(6), atol=1e-6)
    assert torch.equal(ssim(a, b, padding), ssim(b, a, padding))


def test_constant_images_have_a_closed_form():
    a, b = torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(a, b, "reflect").item() == pytest.approx(expected, abs=1e-4)
    assert ssim(a, b, "valid").item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [1, 2, 5, 8, 10, 11])
def test_images_smaller_than_the_window(padding, size):
    a = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(size))
    assert torch.allclose(ssim(a, a, padding), torch.ones(3), atol=1e-5)
    assert (ssim(a, 1 - a, padding) < 1).all()


@pytest.mark.parametrize("padding", PADDINGS)
def test_gradient(pair, padding):
    a, b = (t[:1, :1, :12, :13].double() for t in pair)
    assert torch.autograd.gradcheck(lambda v: ssim(v, b, padding), a.requires_grad_())


def test_chunks_change_nothing(pair, monkeypatch):
    whole = ssim(*pair, "reflect")
    monkeypatch.setattr(module, "_CHUNK", 4)
    assert torch.allclose(ssim(*pair, "reflect"), whole, atol=1e-6)


def test_a_fake_pass_neither_needs_nor_spoils_the_cache(pair):
    before = ssim(*pair, "zero")
    with FakeTensorMode():
        for size in (32, 19):
            x = torch.rand(4, 3, size, 28, requires_grad=True)
            ssim(x, torch.rand(4, 3, size, 28), "zero").mean().backward()
            assert x.grad is not None
    assert torch.equal(ssim(*pair, "zero"), before)
    assert torch.isfinite(ssim(*(t[..., :19, :] for t in pair), "zero")).all()


def test_a_matrix_made_in_inference_mode_serves_training():
    a, b = torch.rand(2, 1, 17, 23), torch.rand(2, 1, 17, 23)
    with torch.inference_mode():
        ssim(a, b, "zero")
    ssim(a.requires_grad_(), b, "zero").sum().backward()
    assert a.grad is not None


def test_half_precision_is_computed_in_single(pair):
    a, b = pair
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ssim(a, b, "zero"), ssim(a.clone(), b, "zero"))
        inside = ssim(a, b, "zero")
    assert torch.equal(inside, ssim(a, b, "zero"))


def test_two_shapes_are_refused(pair):
    a, b = pair
    with pytest.raises(ValueError, match="one shape"):
        ssim(a, b[:1], "zero")


def test_works_under_vmap(pair):
    a, b = pair
    stacked = vmap(lambda p, q: ssim(p, q, "zero"))(a.view(2, 3, 3, 32, 28), b.view(2, 3, 3, 32, 28))
    assert torch.allclose(stacked.flatten(), ssim(a, b, "zero"), atol=1e-6)
