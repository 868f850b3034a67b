"""Measures have closed-form answers, one per image, and leave the model as they found it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv import metrics
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.noise import Noise as Gauss
from splitpriv.defenses.quantize import Quantize
from splitpriv.measure import cost, measure
from splitpriv.types import Spec, UserError

PLAIN: dict[str, Any] = {"ssim_padding": "reflect", "lpips": None}


class Noise(Defense):
    bits = 8.0

    def after_edge(self, z: Tensor) -> Tensor:
        return z + torch.randn_like(z)


class Watcher(Defense):
    def __init__(self) -> None:
        super().__init__()
        self.spy, self.own = nn.Linear(100, 100), nn.Linear(3, 2)

    def adversary_parameters(self) -> list[nn.Parameter]:
        return list(self.spy.parameters())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.edge = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.cloud = nn.Sequential(nn.Flatten(), nn.Linear(4 * 64, 5))


def defended(**chain: Defense) -> Defended:
    return Defended(Net(), chain, Spec(image=(3, 8, 8), classes=5))  # type: ignore[arg-type]


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_mse_and_psnr_of_a_uniform_offset():
    x = images(3) * 0.5
    found = measure.scores(x + torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1), x, **PLAIN)
    assert found["mse"].tolist() == pytest.approx([0.01, 0.0001, 0], rel=1e-3, abs=1e-12)
    assert found["psnr"].tolist() == pytest.approx([20, 40, 120], rel=1e-3)
    assert found["ssim"][2].item() == pytest.approx(1, abs=1e-6)


def test_psnr_is_that_of_each_image_and_not_pooled():
    x = torch.zeros(2, 3, 8, 8)
    found = measure.scores(torch.stack([x[0] + 0.1, x[1] + 0.001]), x, **PLAIN)
    pooled = -10 * math.log10(float(found["mse"].mean()))
    assert measure.summary(found)["psnr"] == pytest.approx(40, rel=1e-4) and pooled == pytest.approx(23.01, abs=0.01)


def test_ssim_is_that_of_torchmetrics_and_the_padding_matters():
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = images(300), images(300, 1) * 0.3 + images(300) * 0.7
    found = measure.scores(a, b, **PLAIN)["ssim"]
    theirs = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    assert found.shape == (300,) and (found - theirs).abs().max() < 1e-5
    assert (measure.scores(a, b, ssim_padding="zero", lpips=None)["ssim"] - found).abs().max() > 1e-3


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        measure.scores(images(2), images(3), **PLAIN)


def test_lpips_without_weights_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"measure\.lpips: alex needs .*alexnet-owt-7be5be79\.pth"):
        measure.Measure(
            ssim_padding="reflect",
            lpips="alex",
            ms_ssim=False,
            judge=None,
            draws=1,
            batch=8,
            latency_repeats=1,
            audit=None,
        )
    with pytest.raises(UserError, match=r"measure\.lpips"):
        measure.scores(images(2), images(2), ssim_padding="reflect", lpips="squeeze")


def test_lpips_with_weights_is_zero_on_copies_and_per_image(monkeypatch, tmp_path):
    import torchvision

    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "checkpoints" / measure.WEIGHTS["squeeze"])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"measure\.lpips: .* is not torchvision's file"):
        measure.lpips_weights("squeeze")
    monkeypatch.setattr(measure, "is_published", lambda path: True)
    x = torch.rand(3, 1, 48, 48)
    other = torch.cat([x[:2], torch.rand(1, 1, 48, 48)])
    found = measure.scores(other, x, ssim_padding="reflect", lpips="squeeze")["lpips"]
    assert found.shape == (3,) and found[:2].abs().max() < 1e-6 and found[2] > 1e-4


def test_floors_are_the_mean_and_a_random_image_of_aux():
    aux = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8).repeat(40, 1, 1, 1)
    x = torch.full((50, 3, 8, 8), 0.5)
    x[0] = 0.25
    found = measure.floors(aux, x, **PLAIN)
    assert found["mean_image"]["mse"][:2].tolist() == pytest.approx([1 / 16, 0], abs=1e-6)
    assert found["random_image"]["mse"][1:].tolist() == pytest.approx([0.25] * 49)
    assert set(found["random_image"]["mse"][:1].tolist()) <= {0.0625, 0.5625}
    again = measure.floors(aux, x, **PLAIN)
    assert all(torch.equal(again["random_image"][m], found["random_image"][m]) for m in found["random_image"])


def test_the_worst_case_is_taken_per_image():
    a = {"mse": torch.tensor([0.1, 0.4]), "psnr": torch.tensor([10.0, 4.0]), "ssim": torch.tensor([0.9, 0.1])}
    b = {"mse": torch.tensor([0.3, 0.2]), "psnr": torch.tensor([5.0, 7.0]), "ssim": torch.tensor([0.2, 0.5])}
    found = measure.worst({"a": a, "b": b})
    assert torch.equal(found["mse"], torch.tensor([0.1, 0.2])) and torch.equal(found["psnr"], torch.tensor([10.0, 7]))
    assert torch.equal(found["ssim"], torch.tensor([0.9, 0.5]))
    assert measure.summary(found)["mse"] == pytest.approx(0.15) and measure.worst({}) == {} == measure.summary({})


def test_utility_in_closed_form_and_averaged_over_draws():
    class Coin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            right = torch.rand(len(x), 1) < 0.75
            return torch.where(right, torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]))

    split = Split(torch.zeros(50, 1, 2, 2), torch.zeros(50, dtype=torch.int64), torch.arange(50))
    torch.manual_seed(0)
    found = measure.utility(Coin(), split, draws=40, batch=16)  # type: ignore[arg-type]
    assert found["accuracy"] == pytest.approx(0.75, abs=0.04)
    low = math.log1p(math.exp(-2))
    expected = low + 2 * (1 - found["accuracy"])
    assert found["cross_entropy"] == pytest.approx(expected, rel=1e-5)


def test_balanced_accuracy_does_not_fall_for_the_most_frequent_class() -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(x), -1)

    y = torch.tensor([0] * 18 + [1, 2])
    found = measure.utility(Same(), Split(torch.zeros(20, 1, 2, 2), y, y), draws=2, batch=8)  # type: ignore[arg-type]
    assert found["accuracy"] == pytest.approx(0.9) and found["balanced_accuracy"] == pytest.approx(1 / 3)


def test_evaluation_leaves_buffers_and_modes_as_they_were():
    model = defended(noise=Noise()).train()
    model.net.edge[0].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    split = Split(torch.rand(40, 3, 8, 8), torch.zeros(40, dtype=torch.int64), torch.arange(40))
    measure.utility(model, split, draws=2, batch=16)
    cost.cost(model, model.spec, 2)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.net.edge[1].training and not model.net.edge[0].training


def test_cost_in_closed_form():
    model = defended(noise=Noise(), watcher=Watcher())
    found = cost.cost(model, model.spec, 5)
    conv, norm, own = 3 * 4 * 9 + 4, 8, 3 * 2 + 2
    assert found["edge_parameters"] == conv + norm + own
    assert found["edge_macs"] == 3 * 4 * 9 * 64 and found["total_macs"] == found["edge_macs"] + 4 * 64 * 5
    assert found["release_bytes"] == 4 * 64 and cost.cost(defended(), model.spec, 1)["release_bytes"] == 4 * 4 * 64
    assert found["edge_latency_ms"] > 0
    assert set(found) < set(metrics.COST) and [name for name in found if metrics.COST[name].machine] == [
        "edge_latency_ms", "edge_latency_spread_ms"
    ]  # fmt: skip
    assert found["edge_weight_bytes"] == 4 * (conv + 2 * norm)  # running statistics are read, the watcher is not
    assert found["edge_peak_bytes"] >= 4 * 4 * 64


def test_macs_of_attention_are_counted_in_its_fused_form_too():
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval().requires_grad_(False)
    tokens, dims = 5, 8
    projections, products = 4 * tokens * dims * dims, 2 * tokens * tokens * dims
    found = cost.macs(lambda x: layer(x, x, x, need_weights=False)[0], torch.rand(1, tokens, dims))
    assert found == projections + products


def test_noise_after_a_grid_is_sent_in_full():
    grid = Quantize(bits=4, lo=0.0, hi=1.0)
    noise = Gauss(sigma=0.1)
    for chain, size in (({"a": grid}, 4), ({"a": grid, "b": noise}, 32), ({"b": noise, "a": grid}, 4)):
        model = defended(**chain)
        assert cost.cost(model, model.spec, 1)["release_bytes"] == 4 * 64 * size / 8


def test_signal_tells_a_constant_release_from_a_noisy_one():
    torch.manual_seed(0)
    constant = torch.ones(100, 8)
    z = torch.randn(100, 8)
    assert measure.signal(constant, constant) == 0
    assert abs(measure.signal(constant + torch.randn(100, 8), constant + torch.randn(100, 8))) < 3
    assert measure.signal(z + torch.randn(100, 8), z + torch.randn(100, 8)) > 3
    assert measure.signal(z, z) > 3
