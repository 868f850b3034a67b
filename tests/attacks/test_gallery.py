"""The adversary's own images as a prior: the best attack there is on a library, a sensible one elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from holders import folder, hold
from torch import Tensor, nn

from splitpriv.attacks.gallery import Gallery
from splitpriv.stats import library
from splitpriv.types import UserError

LIBRARY = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def gallery(**changes: Any) -> Gallery:
    return Gallery(**{"width": [1.0, 4.0, 64.0, 1e6], "images": 4096, "tune": 512, "draws": 1, **changes})


def edge(x: Tensor) -> Tensor:
    return torch.tanh(nn.functional.avg_pool2d(x, 2) * 4 - 2)


@pytest.mark.parametrize("sigma", [0.2, 0.6, 1.5])
@pytest.mark.parametrize("draws", [1, 4])
def test_on_a_library_it_is_the_best_attack_there_is(sigma: float, draws: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    attack = gallery(draws=draws)
    drawn = LIBRARY[torch.randint(24, (1500,))]
    access = hold(attack, edge=edge, noise=lambda z: z + sigma * torch.randn_like(z), x=drawn)
    reconstructor = attack.fit(access, folder(tmp_path / "key"))
    victims = LIBRARY.repeat(60, 1, 1, 1)
    z = edge(victims)
    errors = (reconstructor(z + sigma / draws**0.5 * torch.randn_like(z)) - victims).square().flatten(1).mean(1)
    least = library.mmse(LIBRARY, edge(LIBRARY), sigma / draws**0.5, draws=100)
    assert reconstructor.report["width"] == 1
    chance = 4 * float(errors.std()) / len(errors) ** 0.5
    assert float(errors.mean()) == pytest.approx(least.mse, abs=chance + 4 * least.error + 1e-5)
    assert chance < 0.3 * least.mse + 1e-3


def test_elsewhere_the_width_is_chosen_on_images_that_it_does_not_show(tmp_path: Path) -> None:
    attack = gallery()
    coarse = torch.rand(600, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    x = nn.functional.interpolate(coarse, (8, 8), mode="bilinear", align_corners=True)
    access = hold(attack, edge=edge, noise=lambda z: z + 0.01 * torch.randn_like(z), x=x[:500])
    reconstructor = attack.fit(access, folder(tmp_path / "key"))
    assert reconstructor.report["width"] > 1
    errors = reconstructor.report["tuning_mse"]
    assert min(errors) < 0.5 * errors[-1]  # as wide as everything is the mean image
    assert (reconstructor(edge(x[500:])) - x[500:]).square().mean() < 1.5 * min(errors)
    with pytest.raises(UserError, match="width"):
        gallery(width=[])
