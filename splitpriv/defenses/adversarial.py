"""A co-trained inversion decoder: as a defence the edge learns against it, as a monitor it only watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.aside import aside
from splitpriv.stats.ssim import Padding, ssim
from splitpriv.types import Count, Fraction, NonNegative, Positive, Shape, Spec, Step, Whole

Loss = Literal["mse", "l1", "ssim"]


class CoDecoder(nn.Module):
    """An inversion decoder D that learns beside the target; `make` builds it from the shapes of z and of the image."""

    def __init__(self, make: Callable[..., nn.Module], inner_loss: Loss, padding: Padding, lr: float,
                 same: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.make, self.inner_loss, self.padding, self.lr, self.same = make, inner_loss, padding, lr, same

    def attach(self, shape: Shape, image: Shape) -> None:
        """Build D for z (N, *shape) and images (N, *image), from where torch's random numbers stand, which the seed of
        the run decides, or where `same` from one start for all seeds."""
        with aside(seed=0 if self.same else None):
            self.net = self.make(shape, image)

    def loss(self, z: Tensor, x: Tensor) -> Tensor:
        """What D minimises, a scalar, in training mode; x (N, C, H, W) in [0, 1]."""
        image = self.net.train()(z).float()
        if self.inner_loss == "ssim":
            return 1 - ssim(image, x, self.padding).mean()
        return (F.mse_loss if self.inner_loss == "mse" else F.l1_loss)(image, x)

    def frozen(self, z: Tensor) -> Tensor:
        """D(z) in evaluation mode, as in ResSFL's code: the gradient reaches z, but no parameter and no buffer of D."""
        weights = {name: value.detach() for name, value in self.net.named_parameters()}
        return torch.func.functional_call(self.net.eval(), weights, (z,)).float()

    @torch.no_grad()
    def score(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """MSE (N,) and SSIM (N,) of D(z) against x, in evaluation mode and without a gradient."""
        image = self.frozen(z)
        return (image - x).square().flatten(1).mean(1), ssim(image, x, self.padding)

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=self.lr, fused=True)


class Opposed(Defense):
    """A defence beside which an inversion decoder learns from the z that it receives."""

    decoder: CoDecoder

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.decoder.attach(shape, spec.image)

    def adversary_parameters(self) -> list[nn.Parameter]:
        return list(self.decoder.parameters())

    def adversary_optimizer(self) -> torch.optim.Optimizer:
        return self.decoder.optimizer()

    def adversary_loss(self, z: Tensor, step: Step) -> Tensor:
        return self.decoder.loss(z, step.x)


class Adversarial(Opposed):
    """Attacker-aware training: D learns to invert z, and the edge learns to defeat it (numbers of equations not at
    hand).

    `loss` ssim adds weight·max(SSIM(D(z), x) − threshold, 0) (Li et al. 2022, ResSFL); mse adds −weight·MSE, or
    −weight·min(MSE, ceiling): past the ceiling there is nothing to gain; l1 the same with the absolute error. All are
    means over the batch. A `ceiling` of floor is the error of the mean image, of each batch (of the MSE without bias):
    whoever does worse could answer the mean image.
    D descends `inner_loss` for `steps` steps a batch; the penalty is off in the first `warmup` epochs of a phase. D
    starts as the run's seed has it, or with `start` same alike in all runs.

    Open: the game on −MSE has no bound below, and how PATROL keeps it finite is not public; the `ceiling` is ours.
    Whoever attacks trains another decoder, which what misleads D need not mislead.
    """

    added: ClassVar[Mapping[str, Any]] = {"start": "same"}
    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(0.1, 100.0))"}

    def __init__(self, *, net: Callable[..., nn.Module], weight: NonNegative, loss: Loss,
                 threshold: Fraction, ceiling: Positive | Literal["floor"] | None, inner_loss: Loss,
                 padding: Padding, lr: Positive, steps: Count, warmup: Whole,
                 start: Literal["seed", "same"]) -> None:  # fmt: skip
        super().__init__()
        self.decoder = CoDecoder(net, inner_loss, padding, lr, same=start == "same")
        self.weight, self.loss, self.threshold, self.ceiling = weight, loss, threshold, ceiling or torch.inf
        self.padding, self.adversary_steps, self.idle = padding, steps, warmup

    def penalty(self, z: Tensor, step: Step) -> Tensor | None:
        if step.epoch < self.idle:
            return None
        image = self.decoder.frozen(z)
        if self.loss == "ssim":
            return self.weight * F.relu(ssim(image, step.x, self.padding).mean() - self.threshold)
        error = F.l1_loss if self.loss == "l1" else F.mse_loss
        ceiling: Any = self.ceiling
        if ceiling == "floor":
            ceiling = (step.x - step.x.mean(0)).abs().mean() if self.loss == "l1" else step.x.var(0).mean()
        return -self.weight * error(image, step.x).clamp(max=ceiling)


class Monitor(CoDecoder):
    """The same decoder, only watching: it learns from detached releases, `steps` steps a batch, and changes nothing."""

    version = 2

    def __init__(self, *, net: Callable[..., nn.Module], inner_loss: Loss, padding: Padding, lr: Positive,
                 steps: Count) -> None:  # fmt: skip
        super().__init__(net, inner_loss, padding, lr)
        self.steps = steps

    def step_loss(self, release: Tensor, x: Tensor) -> Tensor:
        return self.loss(release.detach(), x)
