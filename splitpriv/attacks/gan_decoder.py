"""The inverse network, fine-tuned against a critic that has learnt what images look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from splitpriv import host
from splitpriv.attacks.base import Access, Attack, Right, even
from splitpriv.attacks.decoder import Decoder, Inverse
from splitpriv.attacks.training import Select, Stop, Training, cosine, inner_home, losses
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, Rate, UserError, blame


class GanDecoder(Attack):
    """WGAN-GP fine-tuning of a trained inverse network (CEM's second attack, Xia et al. 2025).

    First `base`, the decoder attack, whole. Then the critic minimises D(G(z)) - D(x) + `penalty` (|grad D| - 1)^2 on
    images of aux and on what the decoder G makes of fresh releases of them; every `n_critic` steps the decoder takes
    one, down `mse_weight` MSE - D(G(z)). Both rates fall along a cosine that takes `period` epochs (null: all of them).
    The critic meets images of aux alone. `select: best` keeps the epoch of the lowest MSE on the held-out share of
    `base`; the decoder before fine-tuning is not a candidate, its MSE is reported as `start`. Raises UserError where
    selection has nothing to look at, and where there are too few steps for the decoder to take one.
    """

    def __init__(self, *, base: Callable[[], Decoder], critic: Callable[..., nn.Module], epochs: Count, batch: Count,
                 n_critic: Count, lr: Positive, critic_lr: Positive, period: Count | None, betas: tuple[Rate, Rate],
                 penalty: NonNegative, mse_weight: NonNegative, patience: Count | None, select: Select,
                 tolerance: Fraction) -> None:  # fmt: skip
        with blame(".base"):
            self.base = base()
        if not isinstance(self.base, Decoder):
            raise UserError(".base: only an inverse network can be fine-tuned; use decoder or a variant of it")
        with blame(".base"):
            self.stop = Stop(self.base.stop.held, patience, select, tolerance)
        self.critic, self.epochs, self.batch, self.n_critic = critic, epochs, batch, n_critic
        self.lr, self.critic_lr, self.period, self.betas = lr, critic_lr, period or epochs, betas
        self.penalty, self.mse_weight = penalty, mse_weight
        self.draws, self.observe, self.top = self.base.draws, self.base.observe, self.base.top

    @property
    def requires(self) -> frozenset[Right]:  # type: ignore[override]
        return self.base.requires

    @property
    def adapts(self) -> frozenset[str]:
        return self.base.adapts

    def fit(self, access: Access, home: Path) -> Inverse:
        inner = inner_home(home, "decoder")
        with blame(".base"):
            decoder = self.base.fit(access, inner)
        apart, rest = self.base.shares(access, inner)  # those of the decoder: what it was selected on stays apart
        steps = self.epochs * len(even(rest, self.batch))
        if steps < self.n_critic:
            raise UserError(
                f".epochs: {steps} steps in all, fewer than n_critic={self.n_critic} for one of the decoder; raise it"
            )
        key = f"{home.name} gan"
        state.seed_epoch(key, 0)
        net = decoder.net.requires_grad_(True)
        with access.device:
            game, best = Game(self, access, net, self.critic(access.spec.image)), self.base.fresh(access)
        start = {"start": host.to_host(self.base.held_mse(net, access, apart)[None])[0]} if len(apart) else {}

        def epoch(index: int) -> dict[str, Tensor]:
            mse, distance = game.epoch(index, rest)
            return losses(mse, apart, lambda part: self.base.held_mse(net, access, part)) | {"distance": distance}

        training = Training("gan", home / "gan.pt", key, self.epochs, self.stop)
        curve = training.run(net, best, game.learners, epoch)
        state.save_tensors(home / "decoder.safetensors", best.state_dict())
        settled = (
            training.settled(curve, self.base.blind(access, apart, rest), self.period) and decoder.report["converged"]
        )
        epochs = {"epochs": len(curve["train"]), "decoder_epochs": decoder.report["epochs"]}
        return Inverse(best, {**curve, **start, **epochs, "converged": settled})


class Game:
    """The decoder's and the critic's turns."""

    def __init__(self, attack: GanDecoder, access: Access, net: nn.Module, critic: nn.Module) -> None:
        self.attack, self.access, self.net, self.critic = attack, access, net, critic
        self.net_adam = torch.optim.Adam(net.parameters(), attack.lr, attack.betas, fused=True)
        self.critic_adam = torch.optim.Adam(critic.parameters(), attack.critic_lr, attack.betas, fused=True)
        self.learners = {"critic": critic, "optimizer": self.net_adam, "critic_optimizer": self.critic_adam}

    def epoch(self, index: int, aux: Tensor) -> tuple[Tensor, Tensor]:
        """One pass over the images at `aux` (n,): the decoder's mean MSE, and the distance that the critic sees."""
        attack = self.attack
        for optimizer, lr in ((self.net_adam, attack.lr), (self.critic_adam, attack.critic_lr)):
            cosine(optimizer, lr, 0.0, index / attack.period)
        sums = torch.zeros(2, device=aux.device)
        parts = even(aux[torch.randperm(len(aux), device=aux.device)], attack.batch)
        for step, part in enumerate(parts, start=index * len(parts) + 1):
            sums += self._judge(part) * len(part)
            if step % attack.n_critic == 0:
                self._refine(part)
        mse, distance = sums / len(aux)
        return mse, distance

    def _judge(self, part: Tensor) -> Tensor:
        """A step of the critic; (2,) the MSE of what it judged, and its estimate of the Wasserstein distance."""
        self.net.eval()
        with torch.no_grad():
            fake, x = self.attack.base.pair(self.net, self.access, part)
        distance = self.critic(x).mean() - self.critic(fake).mean()
        loss = self.attack.penalty * gradient_penalty(self.critic, x, fake) - distance
        self.critic_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_adam.step()
        return torch.stack([(fake - x).square().mean(), distance.detach()])

    def _refine(self, part: Tensor) -> None:
        """A step of the decoder; the critic only passes the gradient on."""
        self.net.train()
        self.critic.requires_grad_(False)
        fake, x = self.attack.base.pair(self.net, self.access, part)
        loss = self.attack.mse_weight * (fake - x).square().mean() - self.critic(fake).mean()
        self.net_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.net_adam.step()
        self.critic.requires_grad_(True)


def gradient_penalty(critic: nn.Module, x: Tensor, fake: Tensor) -> Tensor:
    """Mean of (|grad D| - 1)^2 at one random point between each pair of images (Gulrajani et al. 2017, Eq. 3)."""
    between = torch.lerp(x, fake, torch.rand(len(x), 1, 1, 1, device=x.device)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()
