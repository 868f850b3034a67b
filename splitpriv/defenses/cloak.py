"""Cloak: learn how much noise every feature bears, then replace those that bear most of it by constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.cloak_blackbox import Substitute
from splitpriv.defenses.parts.cloak_map import Granularity, NoiseMap, Orientation, Reg
from splitpriv.defenses.parts.cloak_phases import Stretch, check, schedule, weight
from splitpriv.types import Count, Epoch, Fraction, NonNegative, Phase, Positive, Shape, Spec, Step, UserError


class Cloak(Defense):
    """Noise r ~ N(mu, sigma^2) learned per feature of z against a frozen network, then suppression of noisy features.

    Phases: "fit", of the network (the undefended one where Cloak is alone, else with the other links and without this
    one); those of `noise` in their order (CE + gamma R(sigma); only rho and mu learn); with `fill` trained, "suppress":
    the mask is fixed and only the constants learn (Algorithm 2). Suppressed entries of a release are constants to the
    bit; of the kept ones nothing is guaranteed. At deployment every image has fresh noise. Acts on pixels with
    `split.at=0`, on features with a deeper cut. With a `substitute` all is learned through it (black box).
    Raises UserError where `min_scale` reaches `max_scale` or a phase of `noise` takes the name of another.

    Open: a sentence of the paper keeps the features of large sigma, its code those of small (`orientation`). R is
    −log mean sigma^2 in Equation 8 and −log mean sigma in the code (`noise_reg`), and M has no unit. Trained constants
    are added to kept features by formula and code, and replace suppressed ones alone in prose (`mu_on_kept`).

    Source: Mireshghallah et al., Not All Features Are Equal, WWW 2021 (arXiv 2003.12154), and their code.
    """

    adaptive = frozenset({"draws", "mask"})
    mask: Tensor

    @staticmethod
    def strength(node: Mapping[str, Any]) -> Mapping[str, str]:
        """Of noise alone its largest size, else the share that is suppressed."""
        if node["fill"] == "none":
            return {"max_scale": "tag(log, interval(0.05, 10.0))"}
        return {"ratio": "interval(0.05, 0.95)"}

    def __init__(
        self, *, max_scale: Positive, min_scale: NonNegative, scale: Literal["absolute", "relative"],
        rho_init: Annotated[float, Interval(ge=-30, le=30)], noise_reg: Reg, samples: Annotated[int, Interval(ge=2)],
        noise_train: Literal["shared", "fresh"], n_mc: Count, noise: dict[str, Stretch], suppress: Stretch,
        fill: Literal["trained", "zeros", "mean", "none"], threshold: Fraction, ratio: Fraction | None,
        granularity: Granularity, orientation: Orientation, mu_on_kept: bool, noise_on_kept: bool, train_map: bool,
        legacy_train_mode: bool, substitute: Callable[..., Substitute] | None,
    ) -> None:  # fmt: skip
        super().__init__()
        if min_scale >= max_scale:
            raise UserError(f".min_scale: {min_scale} is not below max_scale, {max_scale}; lower it, 0 will do")
        check(noise)
        self.noise, self.learns_constants, self.fill, self.noise_reg = noise, fill == "trained", fill, noise_reg
        self.substitute = substitute() if substitute else None
        first = {"substitute": self.substitute.stretch} if self.substitute else {}
        self.stretches = {**first, **noise, **({"suppress": suppress} if fill == "trained" else {})}
        self.make_map: dict[str, Any] = {"max_scale": max_scale, "min_scale": min_scale, "rho_init": rho_init,
                                         "relative": scale == "relative", "samples": samples}  # fmt: skip
        self.mask_by: dict[str, Any] = {"threshold": threshold, "ratio": ratio, "granularity": granularity,
                                        "orientation": orientation}  # fmt: skip
        self.draws = n_mc if noise_train == "shared" else None
        self.mu_on_kept, self.noise_on_kept, self.train_map = mu_on_kept, noise_on_kept, train_map
        self.legacy_train_mode, self.stage, self.phases = legacy_train_mode, "fit", schedule(True, self.stretches)

    def validate(self, chain: Mapping[str, Defense]) -> None:
        self.phases = schedule(len(chain) == 1, self.stretches)

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.map, self.values, self.stage = NoiseMap(shape, **self.make_map), nn.Parameter(torch.zeros(shape)), "online"
        self.register_buffer("mask", torch.ones(shape, dtype=torch.bool))
        self.wake = model.net.train
        if self.substitute:
            self.substitute.attach(model, spec, shape)

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        self.stage, self.adversary_steps = phase.name, int(phase.name == "substitute")

    def on_epoch_end(self, epoch: Epoch) -> None:
        if epoch.phase in self.noise:  # the last of these is how the phase of the constants, or deployment, finds it
            self.fix()

    @torch.no_grad()
    def fix(self) -> None:
        """Fix the mask, and what stands in for the features that it drops; trained constants start at mu."""
        self.mask.copy_(self.map.keep(**self.mask_by) | (self.mask if self.fill == "none" else False))
        self.values.copy_({"trained": self.map.mu, "mean": self.map.mean}.get(self.fill, torch.zeros_like(self.values)))

    @property
    def suppresses(self) -> bool:
        """Whether the mask is on: not while noise is learned, and for trained constants not before they are."""
        return self.stage not in self.noise or not (self.training or self.learns_constants)

    def after_edge(self, z: Tensor) -> Tensor:
        if self.stage in ("fit", "substitute"):
            return z
        if self.training and self.stage in self.noise:
            self.map.observe(z)
        release = self.cloaked(z, self.substitute is None or self.substitute.copy_mu)
        return release.detach() if self.training and self.substitute else release

    def expected(self, z: Tensor) -> Tensor:
        if self.stage in ("fit", "substitute"):
            return z
        return self.cloaked(z, self.substitute is None or self.substitute.copy_mu, drawn=False)

    def cloaked(self, z: Tensor, constants: bool, drawn: bool = True) -> Tensor:
        """What becomes of z in this phase; without `constants`, mu and the trained constants count as zero, and the
        noise unless it is `drawn`."""
        frozen = self.stage == "suppress" and not self.train_map
        sigma, mu = (value.detach() if frozen else value for value in (self.map.sigma, self.map.mu))
        values = self.values if constants or not self.learns_constants else torch.zeros_like(self.values)
        mu = mu if constants else torch.zeros_like(mu)
        noise = sigma * self.map.draw(z, self.draws if self.training else None) if drawn else torch.zeros_like(z)
        if not self.suppresses:
            return z + mu + noise
        kept = z + noise if self.noise_on_kept else z
        if self.learns_constants and self.mu_on_kept:
            return torch.where(self.mask, kept, 0.0) + values
        return torch.where(self.mask, kept + mu, values)

    def penalty(self, z: Tensor, step: Step) -> Tensor | None:
        stretch, terms = self.stretches.get(step.phase), []
        if stretch and weight(stretch) > 0 and (step.phase != "suppress" or self.train_map):
            terms.append(weight(stretch) * self.map.regulariser(self.noise_reg))
        if self.substitute and step.phase == "substitute":
            terms.append(0.0 * self.map.rho.sum())  # the main loss teaches nothing in this phase
        elif self.substitute and stretch:
            terms.append(self.substitute.loss(self.cloaked(z, constants=True), z, step.y))
        return torch.stack(terms).sum() if terms else None

    def adversary_parameters(self) -> list[nn.Parameter]:
        return list(self.substitute.parameters()) if self.substitute else []

    def adversary_optimizer(self) -> torch.optim.Optimizer:
        return self.substitute.optimizer() if self.substitute else super().adversary_optimizer()

    def adversary_loss(self, z: Tensor, step: Step) -> Tensor:
        return self.substitute.imitation_loss(z, step.y) if self.substitute else super().adversary_loss(z, step)

    def train(self, mode: bool = True) -> Cloak:
        super().train(mode)
        if mode and self.legacy_train_mode and self.stage in self.stretches:
            self.wake()  # a fit sets the modes of the network's halves before that of the chain
        return self

    @property
    def gaussian_std(self) -> Tensor | None:
        if self.stage in ("fit", "substitute") or (self.suppresses and not self.noise_on_kept):
            return None
        sigma = self.map.sigma.detach()
        return sigma.masked_fill(~self.mask, torch.inf) if self.suppresses else sigma

    @property
    def keep(self) -> Tensor | None:
        return None if self.fill == "none" else self.mask.float()

    @property
    def facts(self) -> Mapping[str, float | str]:
        return {"suppressed": 1 - float(self.mask.float().mean()), **self.map.facts()}
