"""A library shows its images alone, names every draw, and says what no attack can beat."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from splitpriv.data.fashion_tint import FashionTint
from splitpriv.data.gaussian import Gaussian
from splitpriv.data.library import Library
from splitpriv.stats import gaussian
from splitpriv.types import UserError

TINT = functools.partial(FashionTint, crop=0, flip=False, rotation=0, test_share=0.2, seed=0)
ROOT = Path("nowhere")


def data(**changes: Any) -> Library:
    settings = {"source": TINT, "count": 16, "samples": 400, "test_share": 0.25, "seed": 0, "crop": 0, "flip": False}
    return Library(**{"rotation": 0.0, **settings, **changes})


def test_all_splits_show_the_library_and_share_no_draw() -> None:
    pools = data().pools(ROOT)
    assert [len(pools[name]) for name in ("train", "test")] == [300, 100]
    shelf = data().shelf(ROOT)
    for pool in pools.values():
        far = torch.cdist(pool.x(slice(None)).flatten(1), shelf.x(slice(None)).flatten(1))
        which = far.argmin(1)
        assert far.amin(1).max() < 0.1
        assert torch.equal(pool.y, shelf.y[which])
        assert torch.equal(pool.attributes["tint"], shelf.attributes["tint"][which])
        assert len(which.unique()) == 16
    ids = torch.cat([pool.ids for pool in pools.values()])
    assert len(ids.unique()) == 400
    with pytest.raises(UserError, match=r"dataset\.count"):
        data(count=9000).pools(ROOT)


def test_the_least_error_lies_between_none_and_the_spread_of_the_library() -> None:
    def signal(x: torch.Tensor) -> torch.Tensor:
        return x.mean(1).flatten(1)[:, ::40]

    x = data().shelf(ROOT).x(slice(None))
    spread = float(x.double().var(0, correction=0).mean())
    found = [data().least_error(ROOT, signal, std)["library_mmse"] for std in (0.01, 0.5, 2.0, 1e4)]
    assert found == sorted(found)
    assert found[0] < 1e-6
    assert found[-1] == pytest.approx(spread, rel=1e-3)


def test_gaussian_images_behind_a_linear_edge_and_no_other() -> None:
    kind = Gaussian(size=4, samples=10, std=0.1, length=2.0, nugget=0.01, test_share=0.2, seed=0, crop=0, flip=False,
                    rotation=0.0)  # fmt: skip
    weight = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    cov = torch.from_numpy(kind.covariance())
    found = kind.least_error(ROOT, lambda x: x.flatten(1) @ weight.mT + 3.0, 0.2)
    assert found == {"gaussian_mmse": pytest.approx(gaussian.mmse(cov, weight, 0.2), rel=1e-4)}
    std = torch.tensor([0.2, 0.2, 0.2, 0.2, torch.inf])
    four = kind.least_error(ROOT, lambda x: x.flatten(1) @ weight.mT, std)
    assert four == {"gaussian_mmse": pytest.approx(gaussian.mmse(cov, weight[:4], 0.2), rel=1e-4)}
    assert kind.least_error(ROOT, lambda x: torch.relu(x.flatten(1) @ weight.mT), 0.2) == {}
