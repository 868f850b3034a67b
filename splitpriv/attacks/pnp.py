"""Plug-and-play search: the likelihood of the release, and a learned denoiser in the place of a prior."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from splitpriv import progress
from splitpriv.attacks.base import Access, Attack, Right
from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.matching import Likelihood, Matching
from splitpriv.attacks.priors import DenoiserPrior
from splitpriv.attacks.training import inner_home
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, UserError, blame


class Pnp(Attack):
    """Plug-and-play restoration by half-quadratic splitting (Venkatakrishnan et al. 2013; Zhang et al. 2021, DPIR).

    By turns v = D(x, sigma) and x = argmin -log p(r | x) + `strength` |x - v|^2 / (2 sigma^2), `steps` steps of Adam
    from v, while sigma falls from `most` to `least` in `levels` geometric steps. D is a small denoiser, trained on aux
    once for all chains (`prior`). The search starts from what `base`, a decoder, makes of the release, or from grey.
    Of several `strength` the adversary takes the one that rebuilds `tune` images of aux best; where there is a decoder,
    images that it has not learned from. Raises UserError where sigma would not fall, or nothing is held out for that.
    """

    def __init__(self, *, base: Callable[[], Decoder] | None, prior: Callable[[], DenoiserPrior],
                 strength: list[NonNegative], most: Positive, least: Positive, levels: Count, steps: Count,
                 lr: Positive, tune: Count, batch: Count, draws: Count, tolerance: Fraction) -> None:  # fmt: skip
        with blame(".base"):
            self.base = base() if base else None
        if self.base and (not isinstance(self.base, Decoder) or self.base.observe != "release"):
            raise UserError(".base: only a decoder of releases can be refined; use decoder or a variant of it, or null")
        if self.base and self.base.draws != draws:
            raise UserError(f".base.draws: is {self.base.draws}, but the attack averages {draws}; set both alike")
        if not strength:
            raise UserError(".strength: is empty; give at least one, as in [1.0]")
        if self.base and len(strength) > 1 and self.base.stop.held == 0:
            raise UserError(".base.held: 0 leaves nothing to choose the strength on; raise it, or give one strength")
        if least > most:
            raise UserError(f".least: {least} lies above most, {most}; lower it")
        with blame(".prior"):
            self.prior = prior()
        self.learns = (self.prior.what,)
        self.strength, self.most, self.least, self.levels, self.steps = strength, most, least, levels, steps
        self.lr, self.tune, self.batch, self.draws, self.tolerance = lr, tune, batch, draws, tolerance

    @property
    def requires(self) -> frozenset[Right]:  # type: ignore[override]
        own: frozenset[Right] = frozenset({"query", "edge", "expected", "aux"})
        return own | (self.base.requires if self.base else frozenset())

    @property
    def adapts(self) -> frozenset[str]:
        return super().adapts | (self.base.adapts if self.base else frozenset())

    def fit(self, access: Access, home: Path) -> Matching:
        start: Callable[[Tensor], Tensor] = lambda r: torch.full((len(r), *access.spec.image), 0.5, device=r.device)  # noqa: E731
        pool = torch.arange(len(access.aux), device=access.device)
        if self.base:
            inner = inner_home(home, "decoder")
            with blame(".base"):
                start = self.base.fit(access, inner)
            pool = self.base.shares(access, inner)[0] if self.base.stop.held else pool
        return self.search(access, home, self.prior.learned(access, home), start, pool)

    def search(self, access: Access, home: Path, denoise: nn.Module, start: Callable[[Tensor], Tensor],
               pool: Tensor) -> Matching:  # fmt: skip
        """The search from what `start` makes of releases; the strength is chosen on images of aux out of `pool` (n,),
        which `start` has not learned from."""
        state.seed_epoch(home.name, 0)
        chosen = pool[torch.randperm(len(pool), device=pool.device)[: self.tune]]
        tune = access.aux.split.x(chosen), access.aux.release(chosen, self.draws).float()
        likelihood = Likelihood(access, chosen, self.draws)
        sigmas = torch.logspace(0, 1, self.levels, base=self.least / self.most, device=access.device) * self.most

        def descend(r: Tensor, strength: float) -> tuple[Tensor, list[Tensor]]:
            x, curve = start(r).clone(), []
            for sigma in sigmas:
                with torch.no_grad():
                    v = denoise(x, sigma.expand(len(x))).clamp(0, 1) if strength else x

                def loss(x: Tensor, v: Tensor = v, sigma: Tensor = sigma) -> Tensor:
                    anchor = strength * (x - v).square().flatten(1).sum(1) / (2 * sigma**2)
                    return likelihood(x, r) + anchor

                x = descended(loss, v, self.steps, self.lr)
                with torch.no_grad():
                    curve.append(likelihood(x, r))
            return x, curve

        return Matching("pnp", descend, self.strength, tune, home, self.batch, self.tolerance)


def descended(loss: Callable[[Tensor], Tensor], start: Tensor, steps: int, lr: float) -> Tensor:
    """`start` (N, C, H, W) after `steps` of Adam down the sum of `loss`, one value per image, clamped to [0, 1]."""
    x = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    optimizer = torch.optim.Adam([x], lr, (0.9, 0.99), fused=True)
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        for step in progress.steps(f"descent of {len(x)} images", steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - step / steps)
            # torch.autograd.grad reaches the image alone, so the target's parameters gather no gradients
            (slope,) = torch.autograd.grad(loss(x).sum(), x)
            x.grad = slope.contiguous()  # a fused step reads memory in its order
            optimizer.step()
            x.detach().clamp_(0, 1)
    return x.detach()
