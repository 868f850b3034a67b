"""Search in the latent space of a generator that has learned what images look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from splitpriv import progress
from splitpriv.attacks.base import Access, Attack, Right
from splitpriv.attacks.matching import Likelihood, Matching
from splitpriv.attacks.priors import VaePrior
from splitpriv.nets.image_priors import Vae
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, UserError, blame

POINTS = 8  # of the loss curve


class Latent(Attack):
    """Latent search after GLASS (Li et al. 2023), with a small autoencoder in the place of its StyleGAN.

    x = G(c), where c descends -log p(r | G(c)) + `strength` |c|^2 / 2 for `steps` steps of Adam, from that of `starts`
    codes of aux whose release lies nearest. G is trained on aux once for all chains (`prior`). Of several `strength`
    the adversary takes the one that rebuilds `tune` images of aux best; these are no starts.
    """

    requires: frozenset[Right] = frozenset({"query", "edge", "expected", "aux"})

    def __init__(self, *, prior: Callable[[], VaePrior], strength: list[NonNegative], starts: Count, steps: Count,
                 lr: Positive, tune: Count, batch: Count, draws: Count, tolerance: Fraction) -> None:  # fmt: skip
        if not strength:
            raise UserError(".strength: is empty; give at least one, as in [1.0]")
        with blame(".prior"):
            self.prior = prior()
        self.learns = (self.prior.what,)
        self.strength, self.starts, self.steps, self.lr, self.tune = strength, starts, steps, lr, tune
        self.batch, self.draws, self.tolerance = batch, draws, tolerance

    def fit(self, access: Access, home: Path) -> Matching:
        net = self.prior.learned(access, home)
        assert isinstance(net, Vae)
        state.seed_epoch(home.name, 0)
        order = torch.randperm(len(access.aux), device=access.device)
        chosen, others = order[: self.tune], order[self.tune :][: self.starts]
        others = others if len(others) else chosen
        tune = access.aux.split.x(chosen), access.aux.release(chosen, self.draws).float()
        likelihood = Likelihood(access, chosen, self.draws)
        with torch.no_grad():
            parts = others.split(self.batch)
            codes = torch.cat([net.encode(access.aux.split.x(part))[0] for part in parts])
            shown = torch.cat([access.expected(net.decode(c)).flatten(1) for c in codes.split(self.batch)])

        def descend(r: Tensor, strength: float) -> tuple[Tensor, list[Tensor]]:
            code = codes[torch.cdist(r.flatten(1), shown).argmin(1)].clone().requires_grad_()
            optimizer = torch.optim.Adam([code], self.lr, fused=True)
            marks, curve = {self.steps * k // POINTS for k in range(POINTS)}, []
            with torch.enable_grad(), torch.autocast(r.device.type, enabled=False):
                for step in progress.steps(f"descent of {len(r)} images", self.steps):
                    misfit = likelihood(net.decode(code), r)
                    if step in marks:
                        curve.append(misfit.detach())
                    loss = misfit + strength * code.square().sum(1) / 2
                    (code.grad,) = torch.autograd.grad(loss.sum(), code)
                    optimizer.step()
            with torch.no_grad():
                x = net.decode(code)
                return x, [*curve, likelihood(x, r)]

        return Matching("latent", descend, self.strength, tune, home, self.batch, self.tolerance)
