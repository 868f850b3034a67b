"""The picture shows the victims it says it shows."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from splitpriv.measure import pictures


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (12, 1, 1), (3, 200, 200)])
def test_any_image_shape_makes_a_picture(tmp_path, shape):
    x = torch.rand(20, *shape)
    pictures.grid(tmp_path / "grid.png", x, x, {"mse": torch.rand(20), "ssim": torch.rand(20)}, seed=0, title="decoder")
    with Image.open(tmp_path / "grid.png") as image:
        assert image.format == "PNG" and image.width > 300 and image.height > 300


def test_fixed_victims_depend_on_the_seed_alone_and_the_rest_on_the_metric(tmp_path):
    x, mse = torch.rand(50, 3, 8, 8), torch.linspace(1, 0, 50)

    def shown(scores: torch.Tensor, seed: int) -> list[int]:
        return pictures.grid(tmp_path / "a.png", x, x, {"mse": scores}, seed=seed, title="t")

    first, other = shown(mse, 0), shown(mse.flip(0), 0)
    assert first[:8] == other[:8] != shown(mse, 1)[:8] and len(set(first[:8])) == 8
    assert first[8:] == [49, 48, 47, 25, 24, 23, 0, 1, 2]
    assert other[8:] == [0, 1, 2, 24, 25, 26, 49, 48, 47]


def test_the_reconstruction_lies_below_its_victim(tmp_path):
    x, recon = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    x[:, 0], recon[:, 2] = 1, 1
    pictures.grid(tmp_path / "a.png", x, recon, {"mse": torch.zeros(1)}, seed=0, title="t")
    with Image.open(tmp_path / "a.png") as image:
        colours = [image.getpixel((40, y)) for y in range(image.height)]
    assert colours.index((255, 0, 0)) < colours.index((0, 0, 255))
    assert colours.count((255, 0, 0)) == colours.count((0, 0, 255)) == 2 * 96
