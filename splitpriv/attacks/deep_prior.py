"""Likelihood under the prior of an untrained net: what it can express easily looks like an image."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from splitpriv import progress
from splitpriv.attacks.base import Access, Attack, Right
from splitpriv.attacks.matching import Likelihood, Matching
from splitpriv.attacks.rmle import variation
from splitpriv.nets.image_priors import DeepDecoders
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, UserError

POINTS = 8  # of the loss curve


class DeepPrior(Attack):
    """x = G(theta), theta descending -log p(r | G(theta)) + `strength` TV for `steps` steps of Adam, for every image on
    its own (deep image prior, Ulyanov et al. 2018; "LM" of SIMBA, GLASS and DRAG).

    G is a deep decoder (Heckel & Hand 2019) of `depth` layers and `width` channels, small enough to need no early stop:
    a stand-in for the skip nets of those papers. Nothing is learned from aux; it only chooses `strength`, of which the
    one is taken that rebuilds `tune` images best, and shows the size of the noise.
    """

    requires: frozenset[Right] = frozenset({"query", "edge", "expected", "aux"})

    def __init__(self, *, width: Count, depth: Count, strength: list[NonNegative], steps: Count, lr: Positive,
                 tune: Count, batch: Count, draws: Count, tolerance: Fraction) -> None:  # fmt: skip
        if not strength:
            raise UserError(".strength: is empty; give at least one, as in [0.0]")
        self.width, self.depth, self.strength, self.steps, self.lr = width, depth, strength, steps, lr
        self.tune, self.batch, self.draws, self.tolerance = tune, batch, draws, tolerance

    def fit(self, access: Access, home: Path) -> Matching:
        state.seed_epoch(home.name, 0)
        chosen = torch.randperm(len(access.aux), device=access.device)[: self.tune]
        tune = access.aux.split.x(chosen), access.aux.release(chosen, self.draws).float()
        likelihood = Likelihood(access, chosen, self.draws)

        def descend(r: Tensor, strength: float) -> tuple[Tensor, list[Tensor]]:
            with r.device:
                nets = DeepDecoders(access.spec.image, self.width, self.depth, len(r))
            learns = list(nets.parameters())
            optimizer = torch.optim.Adam(learns, self.lr, fused=True)
            marks, curve = {self.steps * k // POINTS for k in range(POINTS)}, []
            size = r[0].numel()  # so that the strength means the same at every size of release
            with torch.enable_grad(), torch.autocast(r.device.type, enabled=False):
                for step in progress.steps(f"descent of {len(r)} images", self.steps):
                    x = nets()
                    misfit = likelihood(x, r)
                    if step in marks:
                        curve.append(misfit.detach())
                    loss = misfit / size + strength * variation(x, 1.0)
                    grads = torch.autograd.grad(loss.sum(), learns)
                    for weight, grad in zip(learns, grads, strict=True):
                        weight.grad = grad
                    optimizer.step()
            with torch.no_grad():
                x = nets()
                return x, [*curve, likelihood(x, r)]

        return Matching("deep prior", descend, self.strength, tune, home, self.batch, self.tolerance)
