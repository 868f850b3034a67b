"""FORA: a stand-in for the edge that learns from releases alone, by domain adaptation, and an attack on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from splitpriv.attacks.base import Access, Attack, Reconstructor, Recovered, Right
from splitpriv.attacks.gan_decoder import gradient_penalty
from splitpriv.attacks.substitute import Through, require_servable, through
from splitpriv.attacks.training import Standardise, Stop, Training, cosine, inner_home, learn
from splitpriv.nets import probes, standins
from splitpriv.nets.split import Backbone
from splitpriv.stats.mmd import mk_mmd
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, blame


class Fora(Attack):
    """Feature-oriented reconstruction (Xu et al., CVPR 2024): releases that were sent, images of aux, and nothing else.

    A stand-in f̃ learns to send what the device sends: it descends (1 - `weight`) · (-D(f̃(x))) + `weight` · MK-MMD(f̃(x),
    r) on images x of aux and releases r of victims, five Gaussian kernels, against a critic D of WGAN-GP that tells the
    two apart (`penalty` times (|grad D| - 1)^2, a step each). Then `base` inverts f̃ as if it were the edge. Releases
    count in units of their spread. The stand-in is cut from `backbone` at `at`, or of plain convolutions.

    It learns from the first releases that it is given (256 at most), and inverts the others by the same. Theirs is an
    honest server that watches a training with the edge still learning; here the edge is the deployed one.
    """

    requires: frozenset[Right] = frozenset({"aux"})
    attribute_key: ClassVar[str] = "base.attribute"

    def __init__(self, *, base: Callable[[], Attack], backbone: Callable[..., Backbone] | None, at: int | str | None,
                 bottleneck: dict[str, Any] | None, width: Count, hidden: list[Count], weight: Fraction,
                 penalty: NonNegative, epochs: Count, batch: Count, lr: Positive, critic_lr: Positive,
                 tolerance: Fraction) -> None:  # fmt: skip
        with blame(".base"):
            self.base = base()
        require_servable(self.base)
        standins.require_both(backbone, at)
        self.backbone, self.at, self.bottleneck, self.width, self.hidden = backbone, at, bottleneck, width, hidden
        self.weight, self.penalty, self.epochs, self.batch = weight, penalty, epochs, batch
        self.lr, self.critic_lr = lr, critic_lr
        self.draws, self.attribute = self.base.draws, self.base.attribute
        self.stop = Stop(0, None, "last", tolerance)

    @property
    def recovers(self) -> Recovered:  # type: ignore[override]
        return self.base.recovers

    def fit(self, access: Access, home: Path) -> Adapted:
        return Adapted(self, access, home)

    def adapt(self, access: Access, home: Path, releases: Tensor) -> tuple[nn.Module, dict[str, Any]]:
        """The stand-in, frozen, that sends like `releases` (N, *shape), and what the row says of it."""
        state.seed_epoch(home.name, 0)

        def made() -> nn.Module:
            return standins.either(access.spec, access.shape, self.width, self.backbone, self.at, self.bottleneck)

        with access.device:
            edge, best, critic = made(), made(), probes.mlp(access.shape, 1, hidden=self.hidden)
        adam = torch.optim.Adam(edge.parameters(), self.lr, fused=True)
        critic_adam = torch.optim.Adam(critic.parameters(), self.critic_lr, fused=True)

        def loss(part: Tensor) -> Tensor:
            """The edge's, once the critic has taken a step on the same images."""
            with access.autocast():
                sent = edge(access.aux.split.x(part)).float()
            real = releases[torch.randint(len(releases), (len(sent),), device=sent.device)]
            critic.requires_grad_(True)
            gap = critic(sent.detach()).mean() - critic(real).mean()
            pair = (r.flatten(1)[:, None, None] for r in (real, sent.detach()))  # the critic flattens, too
            gap = gap + self.penalty * gradient_penalty(critic, *pair)
            critic_adam.zero_grad(set_to_none=True)
            gap.backward()
            critic_adam.step()
            critic.requires_grad_(False)
            return self.weight * mk_mmd(sent, real) - (1 - self.weight) * critic(sent).mean()

        def epoch(index: int) -> dict[str, Tensor]:
            for optimizer, lr in ((adam, self.lr), (critic_adam, self.critic_lr)):
                cosine(optimizer, lr, 0.0, index / self.epochs)
            train = learn(edge, adam, torch.arange(len(access.aux), device=access.device), self.batch, loss)
            with torch.no_grad():
                shown = access.aux.split.x(slice(0, len(releases)))
                return {"train": train, "mmd": mk_mmd(edge(shown).float(), releases)}

        training = Training("fora", home / "fora.pt", f"{home.name} fora", self.epochs, self.stop)
        learners = {"optimizer": adam, "critic": critic, "critic_optimizer": critic_adam}
        curve = training.run(edge, best, learners, epoch)
        state.save_tensors(home / "standin.safetensors", best.state_dict())
        settled = training.settled({"train": curve["mmd"], "held": []})
        report = {f"shadow_{name}": values for name, values in curve.items() if values}
        return best.eval().requires_grad_(False), {**report, "converged": settled}


class Adapted(Reconstructor):
    """It learns when the first releases come."""

    def __init__(self, attack: Fora, access: Access, home: Path) -> None:
        super().__init__()
        self.attack, self.access, self.home = attack, access, home
        self.inner: Through | None = None
        with access.device:
            self.scale = Standardise(access.shape)

    @property
    def report(self) -> dict[str, Any]:  # type: ignore[override]
        """The attack's and the stand-in's; empty before there were releases."""
        return self.inner.report if self.inner else {}

    def forward(self, releases: Tensor) -> Tensor:
        if self.inner is None:
            self.scale.measure([releases])
            with torch.enable_grad(), blame(".base"):
                edge, report = self.attack.adapt(self.access, self.home, self.scale(releases).detach())
                view, room = through(edge, self.attack.base, self.access), inner_home(self.home, "base")
                self.inner = Through(self.attack.base.fit(view, room), report)
        return self.inner(self.scale(releases))
