"""The edge of someone who does not know the device's."""

from __future__ import annotations

from torch import Tensor, nn

from splitpriv.attacks.suite import members
from splitpriv.attacks.suite.lab import Lab, batch_of, mse
from splitpriv.attacks.suite.plateau import Length, Trainee
from splitpriv.nets import standins


class Standin:
    """An edge learned from queries, by someone who does not know the device's: images -> expected releases."""

    def __init__(self, lab: Lab, length: Length) -> None:
        key, scale = f"{lab.home.name} standin", lab.scale

        def make() -> nn.Module:
            with lab.access.device:
                return standins.plain(lab.access.spec, lab.access.shape, members.WIDTH)

        def gap(net: nn.Module, x: Tensor, releases: Tensor) -> Tensor:
            return mse(net(x), scale(releases))

        def loss(net: nn.Module) -> Tensor:
            x = batch_of(lab, members.BATCH, "learn", "fuse")
            return gap(net, x, lab.release(x))

        pair = lab.pairs("held")
        trainee = Trainee("stand-in", lab.room("standin") / "net.pt", key, make, loss, lambda net: gap(net, *pair), 1.0)
        self.net, self.scale = trainee.finish(length), scale
        self.report = trainee.report

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x) * self.scale.spread + self.scale.mean
