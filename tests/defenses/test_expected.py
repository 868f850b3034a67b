"""What a defence declares as its release without the noise is the mean of its releases."""

from __future__ import annotations

import pytest
import torch
from shipped import composed

from splitpriv.data.gaussian import Gaussian
from splitpriv.run.parts import make_model

DATASET = Gaussian(size=8, samples=8, std=0.1, length=2.0, nugget=0.01, test_share=0.5, seed=0, crop=0, flip=False,
                   rotation=0)  # fmt: skip
NAMES = ("none", "noise", "laplace", "ldp", "dropout", "topk", "quantize", "cloak", "vib", "nopeek", "token_drop",
         "mixup", "pca", "disco", "codec", "blur", "dfil", "infodecom")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_expected_release_is_the_mean_of_releases(name: str) -> None:
    torch.manual_seed(0)
    model = make_model(composed(f"defense=[{name}]"), DATASET).eval()
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        draws = model.release(x.repeat(4000, 1, 1, 1)).view(4000, 2, *model.shape)
        found, error = model.expected(x), draws.std(0) / 4000**0.5
    assert ((found - draws.mean(0)).abs() < 5 * error + 1e-5).all()
    assert torch.equal(model.expected(x), found)
