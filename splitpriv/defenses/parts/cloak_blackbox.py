"""Black-box Cloak: the noise map is learned through a substitute, and the target is only asked for its answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.defenses.parts.aside import aside
from splitpriv.defenses.parts.cloak_phases import Stretch
from splitpriv.types import NonNegative, Positive, Shape, Spec, UserError

if TYPE_CHECKING:
    from splitpriv.defenses.base import Defended
    from splitpriv.nets.split import Backbone


ACROSS = ("bottleneck", "expand")  # layers across the cut, which are no part of the network


def _weights(*halves: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of a network's weights, but for the channels or features of what it sees."""
    named = (item for half in halves for item in half.named_parameters())
    shapes = [tuple(weight.shape) for name, weight in named if name.partition(".")[0] not in ACROSS]
    return [shape[:1] + shape[2:] for shape in shapes[:1]] + shapes[1:]


class Substitute(nn.Module):
    """A network of the user's own that imitates the target, for Cloak to learn its map and its constants through.

    `net` makes it from the data set's description; where z is no image, it sees z as one. `labels`: "queried", the
    class that the target answers for z, or "true", the data set's, as in the committed code, which never asks the
    target. It learns from the training split, which the target has learned from. The paper's user sends requests of
    his own, it does not say which; the code takes a half of the data that the target has not seen. So our user is
    better off than theirs. UserError where `net` is the target's own architecture, which a user of a black box does not
    know. `copy_mu` false: sigma and the mask alone are deployed, as in that code; mu and trained
    constants are then zero.

    Source: Mireshghallah et al. 2021, section "black-box setting", and notebook exp3 of their code.
    """

    version: ClassVar[int] = 2
    key_name: ClassVar[str] = "splitpriv.defenses.cloak_blackbox.Substitute"

    def __init__(self, *, net: Callable[..., Backbone], labels: Literal["queried", "true"], copy_mu: bool,
                 epochs: NonNegative, lr: Positive) -> None:  # fmt: skip
        super().__init__()
        self.make, self.labels, self.copy_mu, self.lr = net, labels, copy_mu, lr
        self.stretch: Stretch = {"epochs": epochs, "lr": lr, "gamma": 0.0, "lambda": None}

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        """Build the network for z (N, *shape), from where torch's random numbers stand: as the run's seed has it."""
        image = (1, shape[0] if len(shape) == 2 else 1, shape[-1])
        self.image = spec.image if shape == spec.image else (shape[0], shape[1], shape[2]) if len(shape) == 3 else image
        seen = spec if shape == spec.image else Spec(self.image, spec.classes, mean=(0.0,), std=(1.0,))
        self.ask = model.classify
        with aside():
            self.net = self.make(seen)
        if _weights(self.net) == _weights(model.net.edge, model.net.cloud):
            raise UserError(".substitute.net: has the target's own architecture, which a user of a black box does not "
                            "know; take another, as in backbone@defense.cloak.substitute.net=resnet20")  # fmt: skip

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=self.lr, fused=True)

    def imitation_loss(self, z: Tensor, y: Tensor) -> Tensor:
        """What the network minimises before the map is learned, a scalar, in training mode; y (N,): the true labels."""
        return F.cross_entropy(self.net.train()(z.reshape(-1, *self.image)).float(), self._labels(z, y))

    def loss(self, release: Tensor, z: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the finished network on a release of z: its gradient reaches the release, but no weight."""
        weights = {name: value.detach() for name, value in self.net.named_parameters()}
        logits = torch.func.functional_call(self.net.eval(), weights, (release.reshape(-1, *self.image),))
        return F.cross_entropy(logits.float(), self._labels(z, y))

    @torch.no_grad()
    def _labels(self, z: Tensor, y: Tensor) -> Tensor:
        return self.ask(z).argmax(1) if self.labels == "queried" else y
