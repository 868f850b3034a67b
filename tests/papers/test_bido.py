"""BiDO's loss as printed: lambda_x towards independence of the image, lambda_y towards dependence on the label."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from shipped import links
from torch import Tensor, nn

from splitpriv.defenses.bido import Bido
from splitpriv.defenses.hsic import Hsic
from splitpriv.defenses.pearson import Pearson
from splitpriv.stats.hsic import coco, gaussian_kernel, label_kernel, nhsic
from splitpriv.types import Spec, Step

EDGE = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
Y = torch.arange(24) % 3


def step(x: Tensor) -> Step:
    return Step(x, Y, {}, EDGE, "fit", 0, 0.0, 0.05)


@pytest.mark.parametrize(("name", "measure"), [("hsic", nhsic), ("coco", coco)])
def test_the_loss_is_the_printed_one_over_release_or_stages(name: str, measure: object) -> None:
    torch.manual_seed(0)
    x, z = torch.rand(24, 6), torch.rand(24, 4)
    image, label = gaussian_kernel(x, 5.0), label_kernel(Y)

    def printed(h: Tensor) -> float:
        k = gaussian_kernel(h, 5.0)
        return float(0.3 * measure(image, k) - 0.7 * measure(k, label))  # type: ignore[operator]

    made = {layers: Bido(measure=name, lambda_x=0.3, lambda_y=0.7, sigma=5.0, layers=layers)  # type: ignore[arg-type]
            for layers in ("release", "stages")}  # fmt: skip
    assert made["release"].penalty(z, step(x)).item() == pytest.approx(printed(z), rel=1e-5)
    first = EDGE[0](x).detach()
    second = (first - first.mean(0)) / (first.var(0, correction=0) + 1e-5).sqrt()
    assert made["stages"].penalty(z, step(x)).item() == pytest.approx(printed(first) + printed(second), rel=1e-4)
    assert EDGE[1].num_batches_tracked == 0
    assert links()["bido"]["bido"]["layers"] == "stages"  # as it ships
    bare = Step(x, Y, {}, nn.Sequential(), "fit", 0, 0.0, 0.05)
    assert made["stages"].penalty(z, bare).item() == pytest.approx(printed(z), rel=1e-5)
    halved = SimpleNamespace(before_edge=lambda x: x / 2)  # as blur would change the image
    made["stages"].attach(SimpleNamespace(defenses=lambda: [("it", halved)]), Spec((1, 2, 3), 3), (5,))  # type: ignore[arg-type]
    first = EDGE[0](x / 2).detach()
    second = (first - first.mean(0)) / (first.var(0, correction=0) + 1e-5).sqrt()
    assert made["stages"].penalty(z, step(x)).item() == pytest.approx(printed(first) + printed(second), rel=1e-4)


def test_descending_it_hides_the_image_and_keeps_the_label() -> None:
    """From z = (label, image): each penalty lowers what is known of x, and BiDO keeps the label's part."""
    torch.manual_seed(0)
    x = torch.rand(24, 6)
    whole = torch.cat([nn.functional.one_hot(Y, 3).float(), x], 1)
    penalties = {"bido": Bido(measure="coco", lambda_x=1, lambda_y=1, sigma=0.5, layers="release"),
                 "hsic": Hsic(weight=1, sigma=None, form="hsic"), "pearson": Pearson(weight=1)}  # fmt: skip
    for name, defense in penalties.items():
        share = torch.ones(2, requires_grad=True)
        z = whole * torch.cat([share[:1].expand(3), share[1:].expand(6)])
        (slope,) = torch.autograd.grad(defense.penalty(z, step(x)), share)
        if name == "pearson":  # blind to scale, value by value
            assert slope.abs().max() < 1e-4
            assert defense.penalty(whole[:, 3:], step(x)) > 2 * defense.penalty(whole[:, :3], step(x))
        else:
            assert slope[1] > 0, name
            assert name != "bido" or slope[0] < 0
