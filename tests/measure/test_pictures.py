"""What is shown of an attack: which victims, with which images and scores; stored, read again and drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from splitpriv.measure import pictures


def test_fixed_victims_depend_on_the_seed_alone_and_the_rest_on_the_metric() -> None:
    x, mse = torch.rand(50, 3, 8, 8), torch.linspace(1, 0, 50)

    def index(scores: torch.Tensor, seed: int) -> list[int]:
        return pictures.choose(x, x, {"mse": scores}, seed=seed).index

    first, other = index(mse, 0), index(mse.flip(0), 0)
    assert first[:8] == other[:8] != index(mse, 1)[:8] and len(set(first[:8])) == 8
    assert first[8:] == [49, 48, 47, 25, 24, 23, 0, 1, 2]
    assert other[8:] == [0, 1, 2, 24, 25, 26, 49, 48, 47]


def test_what_is_stored_is_what_is_shown(tmp_path: Path) -> None:
    x, recon = torch.rand(20, 3, 8, 8), 2 * torch.rand(20, 3, 8, 8) - 0.5
    scores = {"mse": torch.rand(20), "ssim": torch.rand(20)}
    pictures.choose(x, recon, scores, seed=3).write(tmp_path)
    shown = pictures.read(tmp_path)
    assert shown is not None and shown.place == ["fixed"] * 8 + ["best"] * 3 + ["median"] * 3 + ["worst"] * 3
    assert np.array_equal(shown.x, (x[shown.index] * 255).round().byte())
    assert np.array_equal(shown.images, (recon[shown.index].clamp(0, 1) * 255).round().byte())
    for name, values in scores.items():
        assert np.array_equal(shown.scores[name], values[shown.index])
    worst = shown.at("worst")
    assert worst.index == scores["mse"].argsort(descending=True)[:3].tolist() and len(worst.x) == 3
    assert worst.names() == [f"worst #{i}" for i in worst.index]
    assert pictures.read(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (12, 1, 1), (3, 200, 200)])
def test_any_image_shape_makes_a_picture(shape: tuple[int, ...]) -> None:
    x = torch.rand(20, *shape)
    page = pictures.grid(pictures.choose(x, x, {"mse": torch.rand(20), "ssim": torch.rand(20)}, seed=0), "decoder")
    assert page.width > 300 and page.height > 300


def test_the_reconstruction_lies_below_its_victim() -> None:
    x, recon = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    x[:, 0], recon[:, 2] = 1, 1
    page = pictures.grid(pictures.choose(x, recon, {"mse": torch.zeros(1)}, seed=0), "t")
    colours = [page.getpixel((40, y)) for y in range(page.height)]
    assert colours.index((255, 0, 0)) < colours.index((0, 0, 255))
    assert colours.count((255, 0, 0)) == colours.count((0, 0, 255)) == 2 * 96
