"""Convolutions of small maps as matrix products: the same numbers, and only where they are wanted."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from splitpriv.nets import small_maps
from splitpriv.nets.small_maps import Product, SmallMaps


def test_the_product_is_the_convolution_and_so_are_its_gradients():
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(*s, dtype=torch.double, requires_grad=True) for s in ((2, 5, 4, 3), (6, 5, 3, 3), (6,))
    )
    out, ours = F.conv2d(x, weight, bias, padding=1), Product.apply(x, weight, bias)
    slope = torch.randn_like(out)
    assert torch.allclose(out, ours)
    for theirs, own in zip(*(torch.autograd.grad(o, (x, weight, bias), slope) for o in (out, ours)), strict=True):
        assert torch.allclose(theirs, own)
    assert torch.autograd.gradgradcheck(lambda x: Product.apply(x, weight, None), x[:1, :, :2, :2])


@pytest.mark.parametrize(("side", "padding", "dtype"), [(4, 1, torch.bfloat16), (5, 1, None), (4, 0, None)])
def test_only_small_padded_maps_under_autocast_are_computed_so(monkeypatch, side, padding, dtype):
    calls = []
    monkeypatch.setattr(Product, "apply", lambda x, *rest: calls.append(x.dtype) or F.conv2d(x, *rest, padding=1))
    x, weight = torch.randn(2, small_maps.LEAST, side, side), torch.randn(small_maps.LEAST, small_maps.LEAST, 3, 3)
    with SmallMaps():
        F.conv2d(x, weight, padding=padding)
        assert not calls
        with torch.autocast("cpu", torch.bfloat16):
            F.conv2d(x, weight, None, 1, padding)
    assert calls == ([dtype] if dtype else [])


def test_in_fp32_only_wide_filters_that_learn_are_computed_so(monkeypatch):
    calls = []
    monkeypatch.setattr(Product, "apply", lambda x, *rest: calls.append(x.dtype) or F.conv2d(x, *rest, padding=1))
    wide, narrow = (torch.randn(n, n, 3, 3, requires_grad=True) for n in (small_maps.WIDE, small_maps.WIDE // 2))
    with SmallMaps():
        for weight, asked in ((narrow, True), (wide, False), (wide.detach(), True), (wide, True)):
            with torch.set_grad_enabled(asked):
                F.conv2d(torch.randn(2, len(weight), 2, 2), weight, None, 1, 1)
    assert calls == [torch.float32]


def test_a_network_with_wide_filters_trains_by_products_and_answers_by_convolutions(monkeypatch):
    from splitpriv import config, targets
    from splitpriv.defenses.parts.deployed import Edge
    from splitpriv.run.parts import make_model

    calls = []
    plain = Product.apply
    monkeypatch.setattr(Product, "apply", lambda *of: calls.append(1) or plain(*of))
    cfg = config.compose(["backbone=vgg11", "split.at=conv8", "dataset=fashion_tint"])
    model = make_model(cfg, targets.build(cfg["dataset"], "dataset")()).eval()
    x = torch.rand(2, *model.spec.image)
    with torch.no_grad():
        answer = model(x)
    assert not calls
    assert torch.allclose(model(x), answer, atol=1e-5)
    assert calls
    calls.clear()
    Edge(model)(x.requires_grad_())  # what is exported
    assert not calls
