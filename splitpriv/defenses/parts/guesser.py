"""Co-trained classifiers of private attributes: what adversarial representation learning plays against."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.defenses.parts.aside import aside
from splitpriv.types import Shape, Spec, Step, UserError


class Guesser(nn.Module):
    """q(s | z) for the private attribute called `attribute`, or for each that the data set has where it is None.

    `make` builds a classifier from the shape of z and an attribute's number of values. They learn with `lr`, by Adam.
    """

    def __init__(self, make: Callable[..., nn.Module], attribute: str | None, lr: float) -> None:
        super().__init__()
        self.make, self.attribute, self.lr = make, attribute, lr

    def attach(self, shape: Shape, spec: Spec) -> None:
        """Build the classifiers of z (N, *shape); raise UserError where the data set lacks the attribute."""
        names = [*spec.attributes] if self.attribute is None else [self.attribute]
        if not names:
            raise UserError(".attribute: the data set has no private attribute; choose one that has, as fashion_tint")
        if not set(names) <= set(spec.attributes):
            known = f"choose one of {', '.join(spec.attributes)}" if spec.attributes else "it has none at all"
            raise UserError(f".attribute: the data set has no {self.attribute!r}; {known}")
        with aside():
            self.nets = nn.ModuleDict({name: self.make(shape, spec.attributes[name]) for name in names})

    def loss(self, z: Tensor, step: Step) -> Tensor:
        """What the classifiers minimise, in training mode: the sum over attributes of their cross-entropies."""
        logits = {name: net.train()(z).float() for name, net in self.nets.items()}
        return cross_entropy(logits, step.attributes)

    def frozen(self, z: Tensor) -> dict[str, Tensor]:
        """Logits (N, values) of each attribute, in evaluation mode: the gradient reaches z, but no parameter and no
        buffer of a classifier."""
        return {name: _fixed(net, z) for name, net in self.nets.items()}

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.nets.parameters(), lr=self.lr, fused=True)


def _fixed(net: nn.Module, z: Tensor) -> Tensor:
    weights = {name: value.detach() for name, value in net.named_parameters()}
    out: Tensor = torch.func.functional_call(net.eval(), weights, (z,))
    return out.float()


def cross_entropy(logits: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> Tensor:
    """The sum over attributes of CE(q(z), s), a scalar in nats."""
    return torch.stack([F.cross_entropy(guess, truth[name]) for name, guess in logits.items()]).sum()


def entropy(logits: Mapping[str, Tensor]) -> Tensor:
    """The sum over attributes of H(q(·|z)), a scalar in nats, at most Σ log K: of uniform guesses."""
    logs = [guess.log_softmax(1) for guess in logits.values()]
    return torch.stack([-(log.exp() * log).sum(1).mean() for log in logs]).sum()


def information(logits: Tensor, count: Tensor) -> Tensor:
    """Mean KL(q(·|z) ‖ P) of logits (N, values), a scalar in nats; P by `count` (values,). 0 if all answers are P."""
    logs = logits.log_softmax(1)
    return (logs.exp() * (logs - (count / count.sum()).log())).sum(1).mean()
