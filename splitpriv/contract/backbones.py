"""Every backbone: it runs on any image, can be cut where it says, and learns without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from splitpriv import config
from splitpriv.contract.base import require, require_valued
from splitpriv.nets.split import Backbone, SplitNet
from splitpriv.targets import build
from splitpriv.types import Spec, UserError

Build = Callable[[Spec], Backbone]
SPECS = (Spec((1, 32, 32), 7), Spec((3, 48, 40), 7))


def of(option: str) -> Build:
    """What builds a backbone of conf/ for a data set."""
    node = config.compose([f"backbone={option}"])["backbone"]
    require_valued(node, "backbone")
    return build(node, "backbone")


def runs_on(backbone: Build, spec: Spec) -> None:
    """It takes such images, and can be cut shallow, in the middle and deep."""
    with torch.device("meta"), torch.no_grad():
        whole = backbone(spec).eval()
        stages = list(whole.stages)
        require(set(whole.cuts) == {"shallow", "middle", "deep"}, f"its cuts are {sorted(whole.cuts)}, not shallow, "
                                                                  "middle and deep")  # fmt: skip
        for name, last in whole.cuts.items():
            require(last in stages, f"its cut {name} lies after {last!r}; its stages are {', '.join(stages)}")
        for at in whole.cuts:
            net = SplitNet(backbone(spec).eval(), spec, at=at, bottleneck=None)
            made = tuple(net(torch.rand(2, *spec.image)).shape)
            require(made == (2, spec.classes), f"cut {at}, it answers {made} to 2 images of {spec.classes} classes")


def learns(backbone: Build, spec: Spec = SPECS[1]) -> None:
    """Every parameter gets a gradient, and no step asks for a value of a tensor."""
    patch = mock.patch.object(
        torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor
    )  # draws until all are in range
    with patch, FakeTensorMode():
        net = SplitNet(backbone(spec), spec, at="middle", bottleneck=None).train()
        net(torch.rand(2, *spec.image)).square().mean().backward()
        idle = [name for name, p in net.named_parameters() if p.grad is None]
    require(not idle, f"no gradient reaches {', '.join(idle[:3])}")


def takes_images(option: str) -> None:
    """It takes grey and coloured images of any side, or says in one line which it does not; it can be cut."""
    refused: list[UserError] = []
    for spec in SPECS:
        try:
            runs_on(of(option), spec)
        except UserError as error:
            refused.append(error)
    if len(refused) == len(SPECS):
        raise refused[0]


def learns_without_waiting(option: str) -> None:
    """Every parameter gets a gradient, and no step asks for a value of a tensor."""
    learns(of(option))


CHECKS = (takes_images, learns_without_waiting)
