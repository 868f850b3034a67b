"""Decoders from any release shape to any image shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv.nets import decoders, feature_map
from splitpriv.types import Shape

SMALL: dict[str, Callable[[Shape, Shape], nn.Module]] = {
    "conv": partial(decoders.conv, width=4, widest=8),
    "residual": partial(decoders.residual, blocks=1, width=4),
    "unet": partial(decoders.unet, width=4, depth=2),
}
PAIRS: list[tuple[Shape, Shape]] = [
    ((8, 8, 8), (3, 32, 32)),
    ((8, 12, 12), (3, 48, 48)),
    ((8, 24, 24), (1, 28, 28)),
    ((8, 33, 33), (3, 64, 64)),
    ((8, 14, 14), (1, 28, 28)),
    ((16, 5, 5), (1, 28, 28)),
    ((16, 5, 5), (1, 32, 32)),
    ((3, 32, 32), (3, 32, 32)),
    ((8, 64, 64), (3, 32, 32)),
    ((8, 37, 29), (3, 16, 16)),
    ((8, 27, 22), (3, 218, 178)),
    ((64, 2, 2), (3, 32, 32)),
    ((512, 1, 1), (3, 32, 32)),
    ((120, 1, 1), (1, 28, 28)),
    ((84,), (1, 28, 28)),
    ((10,), (3, 64, 64)),
    ((8,), (1, 4, 4)),
    ((8,), (1, 1, 16)),
    ((8,), (1, 1, 1)),
    ((30000,), (3, 32, 32)),
    ((197, 8), (3, 32, 32)),
    ((16, 8), (3, 32, 32)),
    ((7, 5), (3, 32, 32)),
    ((1, 5), (3, 32, 32)),
]


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize(("shape", "image"), PAIRS)
def test_any_release_becomes_any_image(kind: str, shape: Shape, image: Shape) -> None:
    decoder = SMALL[kind](shape, image).eval()
    r = torch.randn(2, *shape)
    kept = r.clone()
    with torch.no_grad():
        x = decoder(r)
    assert x.shape == (2, *image)
    assert x.min() >= 0 and x.max() <= 1
    assert torch.equal(r, kept)
    assert sum(p.numel() for p in decoder.parameters()) < 3_000_000


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("shape", [(5, 5, 5), (84,), (17, 6)])
def test_a_step_runs_without_host_reads_and_draws_nothing(kind: str, shape: Shape) -> None:
    with FakeTensorMode():
        decoder = SMALL[kind](shape, (3, 32, 32))
        loss = (decoder(torch.randn(4, *shape)) - torch.rand(4, 3, 32, 32)).square().mean()
        loss.backward()
        assert all(p.grad is not None for p in decoder.parameters())
    real = SMALL[kind](shape, (3, 32, 32)).train()
    before = torch.get_rng_state()
    real(torch.ones(2, *shape))
    assert torch.equal(before, torch.get_rng_state())
    stochastic = (nn.modules.dropout._DropoutNd, nn.RReLU)
    assert not any(isinstance(m, stochastic) for m in real.modules())


@pytest.mark.parametrize(("blocks", "weights"), [(8, 711_539), (4, 415_091)])
def test_residual_has_the_published_parameter_counts(blocks: int, weights: int) -> None:
    decoder = decoders.residual((8, 8, 8), (3, 32, 32), blocks=blocks, width=64)
    assert sum(p.numel() for p in decoder.parameters()) == weights


def test_residual_doubles_while_the_size_calls_for_it() -> None:
    def count(side: int) -> tuple[int, int]:
        modules = list(decoders.residual((8, side, side), (3, 32, 32), blocks=2, width=4).modules())
        return sum(isinstance(m, nn.ConvTranspose2d) for m in modules), sum(
            isinstance(m, decoders.ResBlock) for m in modules
        )

    assert count(8) == (2, 4)
    assert count(16) == (1, 5)  # the missing doubling is a residual block
    assert count(32) == (0, 6)
    assert count(4) == (3, 4)


@pytest.mark.parametrize(
    ("sides", "image", "start", "times"),
    [
        ((24, 24), (28, 28), (28, 28), 0),  # a 5x5 convolution without padding
        ((8, 8), (28, 28), (14, 14), 1),  # two of them, and a pool between
        ((5, 5), (28, 28), (7, 7), 2),
        ((4, 4), (28, 28), (4, 4), 3),  # three strided layers, which round up
        ((27, 22), (218, 178), (28, 23), 3),  # three pools, which round down
        ((64, 64), (32, 32), (64, 64), -1),
        ((33, 33), (64, 64), (33, 33), 1),
    ],
)
def test_the_way_to_the_image_undoes_what_edges_do(
    sides: tuple[int, int], image: tuple[int, int], start: tuple[int, int], times: int
) -> None:
    way = feature_map.path((8, *sides), (3, *image))
    assert (way.start, way.times) == (start, times)


@pytest.mark.parametrize("kind", ["conv", "residual"])
@pytest.mark.parametrize(("side", "image", "factor"), [(52, 56, 1), (26, 60, 2)])
def test_positions_stay_over_their_pixels(kind: str, side: int, image: int, factor: int) -> None:
    decoder = SMALL[kind]((3, side, side), (1, image, image)).eval()
    r = torch.randn(1, 3, side, side)
    with torch.no_grad():
        here, moved = decoder(r), decoder(r.roll(1, dims=-1)).roll(-factor, dims=-1)
    middle = slice(image // 2 - 4, image // 2 + 4)  # where no border is seen
    assert torch.allclose(here[..., middle, middle], moved[..., middle, middle], atol=1e-5)
    assert float(here[..., middle, middle].std()) > 0


def test_tokens_keep_their_places() -> None:
    r = torch.arange(5 * 3).float().view(1, 5, 3)
    maps = feature_map.FeatureMap((5, 3), (3, 32, 32), 8)(r)
    assert maps.shape == (1, 3, 2, 2)
    assert maps[0, :, 0, 1].tolist() == r[0, 2].tolist()  # after the class token, row by row


@pytest.mark.parametrize("kind", SMALL)
def test_a_decoder_learns_to_invert_a_linear_map(kind: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 1, 4, 4)
    r = x.flatten(1) @ torch.linalg.qr(torch.randn(16, 16)).Q
    decoder = SMALL[kind]((16,), (1, 4, 4))
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(30):
        loss = (decoder(r) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5 * float(x.var())
