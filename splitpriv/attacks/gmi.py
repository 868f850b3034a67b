"""GMI: what a network has learned of a class, sought among the images that a generator can make."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.attacks.base import Access, Attack, Observed, Reconstructor, Right, even
from splitpriv.attacks.gan_decoder import gradient_penalty
from splitpriv.attacks.matching import Matching
from splitpriv.attacks.priors import WEIGHTS, Prior
from splitpriv.attacks.training import Stop, Training
from splitpriv.nets.critics import dgwgan
from splitpriv.nets.image_priors import Generator
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, Rate, blame

POINTS = 8  # of the loss curve
LAST = Stop(0.0, None, "last", 0.02)  # a game has no loss to select by


class Gan(nn.Module):
    """A generator of images from codes (N, D), and the critic that it was trained against."""

    def __init__(self, generator: Generator, critic: nn.Module) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic


class GanPrior(Prior):
    """WGAN-GP (Gulrajani et al. 2017) on aux's images: the critic takes `n_critic` steps for one of the generator, with
    the gradient `penalty`; both run Adam with `betas` at `lr`. Codes have `size` values, drawn from N(0, 1).

    A small stand-in for GMI's generator, which learns from tens of thousands of public faces.
    """

    def __init__(self, *, width: Count, size: Count, critic_width: Count, widest: Count, n_critic: Count,
                 penalty: NonNegative, betas: tuple[Rate, Rate], epochs: Count, batch: Count,
                 lr: Positive) -> None:  # fmt: skip
        super().__init__(width=width, size=size, critic_width=critic_width, widest=widest, n_critic=n_critic,
                         penalty=penalty, betas=list(betas), epochs=epochs, batch=batch, lr=lr)  # fmt: skip
        self.width, self.size, self.critic_width, self.widest = width, size, critic_width, widest
        self.n_critic, self.penalty, self.betas = n_critic, penalty, betas

    def fresh(self, access: Access) -> Gan:
        image = access.spec.image
        return Gan(Generator(image, self.width, self.size), dgwgan(image, width=self.critic_width, widest=self.widest))

    def _train(self, access: Access, home: Path) -> Gan:
        state.seed_epoch(home.name, 0)
        with access.device:
            gan, last = self.fresh(access), self.fresh(access)
        learners = {name: torch.optim.Adam(getattr(gan, name).parameters(), self.lr, self.betas, fused=True)
                    for name in ("generator", "critic")}  # fmt: skip

        def fakes(count: int) -> Tensor:
            return gan.generator(torch.randn(count, self.size, device=access.device))

        def step(of: str, loss: Tensor) -> None:
            learners[of].zero_grad(set_to_none=True)
            loss.backward()
            learners[of].step()

        def epoch(index: int) -> dict[str, Tensor]:
            order = torch.randperm(len(access.aux), device=access.device)
            parts, total = even(order, self.batch), torch.zeros((), device=access.device)
            for turn, part in enumerate(parts, start=index * len(parts) + 1):
                x = access.aux.split.x(part)
                with torch.no_grad():
                    fake = fakes(len(part))
                distance = gan.critic(x).mean() - gan.critic(fake).mean()
                step("critic", self.penalty * gradient_penalty(gan.critic, x, fake) - distance)
                total += distance.detach() / len(parts)
                if turn % self.n_critic == 0:
                    step("generator", -gan.critic(fakes(len(part))).mean())
            return {"train": total}

        Training("gan", home / "last.pt", home.name, self.epochs, LAST).run(gan.train(), last, learners, epoch)
        state.save_tensors(home / WEIGHTS, last.state_dict())
        return last


class Gmi(Attack):
    """Generative model inversion (Zhang et al. 2020), which MID is measured by (Wang et al. 2021): what the network has
    learned from its training images, and not what a victim's release gives away.

    For every class y, z descends -D(G(z)) + `weight` CE(f(G(z)), y) by SGD with momentum, `steps` of them, and stays in
    [-1, 1]; of `starts` the least loss is kept. f is the whole network, asked in full (white box), the chain's
    randomness drawn anew at every step. Losses add up over classes; theirs are means over 60.

    A victim is shown the image of the class that it is answered to be, so `told` of `measure=judged` is the attack's
    accuracy, and `train_distance` how near it comes to a training image of the class; errors in pixels say nothing.
    Open: theirs is one image for each identity, judged by a network that knows these identities, with public images of
    others; here generator and judge both learn from aux.
    """

    requires: frozenset[Right] = frozenset({"edge", "aux"})
    observe: Observed = "logits"
    typical: ClassVar[bool] = True

    def __init__(self, *, prior: Callable[[], GanPrior], weight: NonNegative, steps: Count, lr: Positive,
                 momentum: Fraction, starts: Count, batch: Count, tolerance: Fraction) -> None:  # fmt: skip
        with blame(".prior"):
            self.prior = prior()
        self.learns = (self.prior.what,)
        self.weight, self.steps, self.lr, self.momentum, self.starts = weight, steps, lr, momentum, starts
        self.batch, self.tolerance = batch, tolerance

    def fit(self, access: Access, home: Path) -> OfClass:
        gan = self.prior.learned(access, home)
        assert isinstance(gan, Gan)
        wanted = torch.eye(prod(access.shape), device=access.device)

        def losses(code: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            x = gan.generator(code)
            return x, self.weight * F.cross_entropy(
                access.edge(x).flatten(1).float(), y, reduction="none"
            ) - gan.critic(x)

        def descend(r: Tensor, _: float) -> tuple[Tensor, list[Tensor]]:
            y = r.argmax(1).repeat(self.starts)
            code = torch.randn(len(y), self.prior.size, device=r.device).clamp_(-1, 1).requires_grad_()
            optimizer = torch.optim.SGD([code], self.lr, self.momentum)
            marks, curve = {self.steps * k // POINTS for k in range(POINTS)}, []
            with torch.enable_grad():
                for step in range(self.steps):
                    loss = losses(code, y)[1]
                    if step in marks:
                        curve.append(loss.detach().view(self.starts, -1).amin(0))
                    (code.grad,) = torch.autograd.grad(loss.sum(), code)
                    optimizer.step()
                    with torch.no_grad():
                        code.clamp_(-1, 1)
            with torch.no_grad():
                x, loss = losses(code, y)
                least = loss.view(self.starts, -1).argmin(0)
                best = x.view(self.starts, len(r), *x.shape[1:])[least, torch.arange(len(r), device=r.device)]
                return best, [*curve, loss.view(self.starts, -1).amin(0)]

        search = Matching("gmi", descend, [0.0], (wanted, wanted), home, self.batch, self.tolerance)
        return OfClass(search(wanted), search.report)


class OfClass(Reconstructor):
    """Answers (N, classes) -> of each the image (C, H, W), of `images`, that stands for its largest entry."""

    def __init__(self, images: Tensor, report: dict[str, Any]) -> None:
        super().__init__()
        self.images, self.report = images, report

    def forward(self, releases: Tensor) -> Tensor:
        return self.images[releases.flatten(1).argmax(1)]
