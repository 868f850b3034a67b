"""The rate of releases whose entropy is known, and of a real coder."""

from __future__ import annotations

import zlib

import pytest
import torch
from torch import Tensor, nn

from splitpriv.data.base import Split
from splitpriv.measure import rate
from splitpriv.measure.memory import memory
from splitpriv.measure.rate import LEVELS, code_length, quantised


def per_value(releases: Tensor) -> float:
    half = len(releases) // 2
    return float(code_length(releases[:half], releases[half:])) / releases[0].numel()


def test_uniform_noise_takes_the_logarithm_of_its_levels_and_a_constant_nothing() -> None:
    torch.manual_seed(0)
    assert per_value(torch.rand(128, 4, 8, 8)) == pytest.approx(8, abs=0.05)
    assert per_value(torch.rand(256, 64)) == pytest.approx(8, abs=0.15)  # each feature a channel of 128 values
    assert per_value(torch.full((64, 4, 8, 8), 0.3)) == 0
    half = torch.rand(128, 4, 8, 8)
    half[:, 2:] = 0.7  # constant channels beside others
    assert per_value(half) == pytest.approx(4, abs=0.05)
    coarse = torch.randint(0, 4, (128, 4, 8, 8)) / 3
    assert per_value(coarse) == pytest.approx(2, abs=0.05)


def test_a_gaussian_takes_its_differential_entropy_above_the_step() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 4, 8, 8)
    step = float(x[:128].max() - x[:128].min()) / (LEVELS - 1)
    wanted = 0.5 * torch.log2(torch.tensor(2 * torch.pi * torch.e)) - torch.tensor(step).log2()
    assert per_value(x) == pytest.approx(float(wanted), abs=0.03)


def test_a_real_coder_comes_near() -> None:
    """Huffman's, on sparse values such as a ReLU leaves: it can do no better than the ideal length."""
    torch.manual_seed(0)
    x = torch.randn(256, 1, 16, 16).relu()
    symbols, _, _ = quantised(x[:128], x[128:])
    coder = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
    coded = 8 * len(coder.compress(symbols.to(torch.uint8).numpy().tobytes()) + coder.flush()) / 128
    ideal = float(code_length(x[:128], x[128:]))
    assert ideal < coded < 1.1 * ideal


def test_the_code_knows_nothing_of_what_it_is_measured_on() -> None:
    """Values beyond the range that was seen are clipped to it, and levels never seen cost more than they would."""
    fit, far = torch.rand(64, 1, 8, 8), 5 + torch.rand(64, 1, 8, 8)
    symbols, least, most = quantised(fit, far)
    assert bool((symbols == most).all()) and int(least) == 0 and int(most) == LEVELS - 1
    shifted = torch.rand(64, 1, 8, 8).pow(4)
    assert float(code_length(fit, shifted)) > float(code_length(shifted, shifted))


def test_large_releases_are_measured_on_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Large:
        shape = (4, 8, 8)

        def release(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return torch.rand(len(x), *self.shape)

    aux = Split(torch.rand(300, 1, 2, 2), torch.zeros(300, dtype=torch.long), torch.arange(300))
    assert rate.rate(Large(), aux)["bits_per_image"] == pytest.approx(8 * 256, rel=0.02)  # type: ignore[arg-type]
    assert sum(seen) == rate.IMAGES
    monkeypatch.setattr(rate, "VALUES", 1000)
    seen.clear()
    rate.rate(Large(), aux)  # type: ignore[arg-type]
    assert sum(seen) == 2  # never fewer
    assert rate.rate(Large(), aux.take(slice(0, 1))) == {}  # type: ignore[arg-type]


def test_memory_of_a_call_is_what_it_reads_and_holds_at_once() -> None:
    net = nn.Sequential(nn.Linear(10, 100, bias=False), nn.ReLU(), nn.Linear(100, 5, bias=False))
    net.register_buffer("unused", torch.zeros(1000))
    x = torch.rand(1, 10)
    with torch.no_grad():
        told = memory(net, lambda: net(x))
    assert told == {"edge_weight_bytes": 4 * (1000 + 500), "edge_peak_bytes": 4 * 200}  # a layer's output and its ReLU
