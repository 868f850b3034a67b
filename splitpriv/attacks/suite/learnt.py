"""Members of the slow tier that know what images look like: by a denoiser or a generator learned from aux, or by the
structure of an untrained net. Small stand-ins for the large models of the literature."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from splitpriv import progress
from splitpriv.attacks.deep_prior import DeepPrior
from splitpriv.attacks.latent import Latent
from splitpriv.attacks.matching import Matching
from splitpriv.attacks.pnp import Pnp
from splitpriv.attacks.priors import DenoiserPrior, VaePrior
from splitpriv.attacks.suite.lab import Found, Lab
from splitpriv.store import state

DENOISER = partial(DenoiserPrior, width=24, depth=2, least=0.01, most=0.4, epochs=40, batch=64, lr=0.002)
GENERATOR = partial(VaePrior, width=16, size=128, beta=1.0, spread=0.05, epochs=60, batch=64, lr=0.002)
PNP = partial(Pnp, base=None, strength=[0.03, 0.1, 0.3, 1.0, 3.0], most=0.1, least=0.01, levels=6, steps=20, lr=0.02,
              tune=64, batch=64, tolerance=0.05)  # fmt: skip
LATENT = partial(Latent, strength=[0.01, 0.1, 1.0], starts=512, steps=200, lr=0.05, tune=64, batch=64, tolerance=0.05)
UNTRAINED = partial(DeepPrior, width=48, depth=3, strength=[0.0, 0.1, 1.0], steps=600, lr=0.01, tune=16, batch=64,
                    tolerance=0.05)  # fmt: skip
PART = {"part": "learn, fuse"}  # of aux: another prior than that of all of it


def denoiser() -> DenoiserPrior:
    """The prior of `pnp`."""
    prior = DENOISER()
    prior.what |= PART
    return prior


def generator() -> VaePrior:
    """The prior of `latent`."""
    prior = GENERATOR()
    prior.what |= PART
    return prior


def learns() -> tuple[Mapping[str, Any], ...]:
    """What these members learn from images alone, once for all chains."""
    return denoiser().what, generator().what


class Borrowed:
    """An attack that is also run on its own, as a member: it has the parts of aux that members learn from."""

    def __init__(self, lab: Lab, name: str, found: Matching) -> None:
        self.lab, self.name, self.found, self.report = lab, name, found, found.report

    def __call__(self, releases: Tensor) -> Tensor:
        parts, images = releases.split(self.found.batch), []
        with progress.bar(self.name, len(parts), unit="batch") as bar:
            for part in parts:
                state.seed_epoch(f"{self.lab.home.name} {self.name}", 0)
                images.append(self.found.descend(part, self.found.strength)[0].clamp(0, 1))
                bar.update()
        return torch.cat(images)


def latent(lab: Lab) -> Found:
    """Search in the codes of a generator, from those of aux whose releases lie nearest."""
    attack = LATENT(prior=generator, draws=lab.draws)
    return Borrowed(lab, "latent", attack.fit(lab.learning, lab.room("latent")))


def untrained(lab: Lab) -> Found:
    """Likelihood under an untrained net, for every image on its own."""
    attack = UNTRAINED(draws=lab.draws)
    return Borrowed(lab, "untrained", attack.fit(lab.learning, lab.room("untrained")))


def pnp(lab: Lab, start: Found) -> Found:
    """Plug-and-play search from `start`; its strength is chosen on images that nothing was learned from."""
    attack, home = PNP(prior=denoiser, draws=lab.draws), lab.room("pnp")
    denoise = attack.prior.learned(lab.learning, home)
    held = torch.arange(len(lab.parts["held"]), device=lab.access.device)
    apart = lab.access.only(lab.parts["held"])
    return Borrowed(lab, "pnp", attack.search(apart, home, denoise, start, held))
