"""Regularised maximum-likelihood estimation: search for the image whose release matches what was intercepted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from splitpriv import host, progress
from splitpriv.attacks.base import Access, Attack, Reconstructor, Right, mean_of
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, UserError

POINTS = 8  # of the loss curve in the report, besides the end
GREY_LEVEL = 1 / 255


class Rmle(Attack):
    """rMLE (He et al. 2019, ACSAC): argmin over x of |E[release(x)] - r|^2 + tv * TV(x), by Adam from a grey image.

    `match` mean: E is the release with its randomness at the mean, as the chain's mechanisms declare it; draw: the mean
    over `eot` fresh releases, whose noise counts as distance where they are few. Both terms are means per image, summed
    over the batch, so that an image's result does not depend on who shares its batch. TV is the mean of
    (dx^2 + dy^2)^(tv_power / 2): 1 as in the paper, 2 as in its code. With `relative` the distance is a share of the
    grey image's, so that `tv` means the same whatever the scale of a release. Restart 0 starts grey, the others
    uniformly random; the lowest feature loss wins, per image.

    The weight of the prior decides how well the attack does. Of several `tv` the adversary takes the one that rebuilds
    `tune` images of its own best, from their releases; with one there is nothing to choose, and aux is not needed.
    With `mask` the distance is over the entries alone that the chain's fixed mask keeps: noise in the others would only
    make the grey image's distance larger, and with it the weight of the prior.
    """

    added: ClassVar[Mapping[str, Any]] = {"match": "draw"}

    def __init__(self, *, steps: Count, lr: Positive, amsgrad: bool, eps: Positive, tv: list[NonNegative],
                 tune: Count, tv_power: Positive, relative: bool, box: Literal["clamp", "sigmoid"], restarts: Count,
                 match: Literal["mean", "draw"], eot: Count, mask: bool, draws: Count, batch: Count,
                 tolerance: Fraction) -> None:  # fmt: skip
        if not tv:
            raise UserError(".tv: is empty; give at least one weight, as in [1.0]")
        self.steps, self.lr, self.amsgrad, self.eps, self.tv, self.tune = steps, lr, amsgrad, eps, tv, tune
        self.tv_power, self.relative, self.box, self.restarts = tv_power, relative, box, restarts
        self.match, self.eot, self.mask = match, eot, mask
        self.draws, self.batch, self.tolerance = draws, batch, tolerance

    @property
    def requires(self) -> frozenset[Right]:  # type: ignore[override]
        tuned: set[Right] = {"query", "aux"} if len(self.tv) > 1 else set()
        masked: set[Right] = {"mask"} if self.mask else set()
        edge: set[Right] = {"edge"} if self.match == "draw" else {"edge", "expected"}
        return frozenset(edge | tuned | masked)

    @property
    def adapts(self) -> frozenset[str]:
        return super().adapts | ({"mask"} if self.mask else set())

    def fit(self, access: Access, home: Path) -> Search:
        state.seed_epoch(home.name, 0)
        starts = torch.rand(self.restarts, *access.spec.image)
        starts[0] = 0.5
        search = Search(self, access, home, starts.to(access.device), self.tv[0])
        return search if len(self.tv) == 1 else self._tuned(search, access)

    def _tuned(self, search: Search, access: Access) -> Search:
        """The search with the weight that does best on images of aux; one grey start is enough to tell."""
        chosen = torch.randperm(len(access.aux))[: self.tune].to(access.device)
        x, releases, errors = access.aux.split.x(chosen), access.aux.release(chosen, self.draws).float(), []
        with progress.bar("rmle: weight of the prior", len(self.tv) * self.steps, unit="step") as bar:
            for search.tv in self.tv:
                image, _ = search.descend(releases, search.starts[0], bar)
                errors.append((image - x).square().mean())
        scores = host.to_host(torch.stack(errors))
        search.tv = self.tv[scores.index(min(scores))]
        search.tuning = {"tv": search.tv, "tuning_mse": scores}
        return search


class Search(Reconstructor):
    """The search, one batch of victims after the other; a finished batch is kept in `home` and not searched again."""

    def __init__(self, attack: Rmle, access: Access, home: Path, starts: Tensor, tv: float) -> None:
        super().__init__()
        self.attack, self.access, self.home, self.starts, self.tv = attack, access, home, starts, tv
        self.weight: Tensor | float = 1.0  # of each entry in the distance
        if attack.mask:
            self.weight = access.mask / access.mask.float().expand(access.shape).mean().clamp_min(1e-12)
        self.tuning: dict[str, Any] = {}
        self.report: dict[str, Any] = {}
        self._curves: list[Tensor] = []
        self._batches = 0

    def forward(self, releases: Tensor) -> Tensor:
        parts = releases.split(self.attack.batch)
        total = len(parts) * self.attack.restarts * self.attack.steps
        with progress.bar("rmle", total, unit="step") as bar:
            images, curves = zip(*(self._kept(r.float(), bar) for r in parts), strict=True)
        self._curves += curves
        self._summarise()
        return torch.cat(images)

    def _kept(self, r: Tensor, bar: Any) -> tuple[Tensor, Tensor]:
        self._batches += 1
        path = self.home / f"batch{self._batches}.pt"
        _, kept = state.load_state(path, {})
        if kept is None:
            state.seed_epoch(self.home.name, self._batches)
            kept = self._best(r, bar)
            state.save_state(path, 1, {}, kept)
        else:
            bar.update(self.attack.restarts * self.attack.steps)
        return kept[0].to(r.device), kept[1].to(r.device)

    def _best(self, r: Tensor, bar: Any) -> tuple[Tensor, Tensor]:
        image, curve = self.descend(r, self.starts[0], bar)
        for start in self.starts[1:]:
            other, path = self.descend(r, start, bar)
            better = path[-1] < curve[-1]
            curve = torch.where(better, path, curve)
            image = torch.where(better.view(-1, 1, 1, 1), other, image)
        return image, curve

    def descend(self, r: Tensor, start: Tensor, bar: Any) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) and their feature losses along the way (points, N)."""
        attack, clamp = self.attack, self.attack.box == "clamp"
        begin = start if clamp else start.logit(eps=1e-2)
        free = begin.expand(len(r), *start.shape).clone().requires_grad_()
        pixels: Callable[[Tensor], Tensor] = torch.clone if clamp else torch.sigmoid
        with torch.no_grad():
            grey = self._distance(self.starts[:1].expand(len(r), *start.shape), r).clamp_min(1e-12)
        scale = grey if attack.relative else 1.0
        optimizer = torch.optim.Adam([free], lr=attack.lr, amsgrad=attack.amsgrad, eps=attack.eps, fused=True)
        shown, curve = {attack.steps * k // POINTS for k in range(POINTS)}, []
        with torch.enable_grad(), torch.autocast(r.device.type, enabled=False):
            for step in range(attack.steps):
                x = pixels(free)
                loss = self._distance(x, r)
                if step in shown:
                    curve.append(loss.detach())
                # torch.autograd.grad reaches the image alone, so the target's parameters gather no gradients
                (slope,) = torch.autograd.grad((loss / scale + self.tv * variation(x, attack.tv_power)).sum(), free)
                free.grad = slope.contiguous()  # a fused step reads memory in its order
                optimizer.step()
                if clamp:
                    free.detach().clamp_(0, 1)
                bar.update()
        with torch.no_grad():
            x = pixels(free)
            return x, torch.stack([*curve, self._distance(x, r)])

    def _distance(self, x: Tensor, r: Tensor) -> Tensor:
        if self.attack.match == "mean":
            expected = self.access.expected(x)
        else:
            expected = mean_of(lambda: self.access.edge(x), self.attack.eot)
        return ((expected - r).square() * self.weight).flatten(1).mean(1)

    def _summarise(self) -> None:
        curve = host.to_host(torch.cat(self._curves, dim=1).mean(1))
        if not all(map(math.isfinite, curve)):
            raise UserError(f".lr: the feature loss became {curve[-1]}; lower it, or the weight of the prior, tv")
        late, tolerance = curve[3 * (len(curve) - 1) // 4], self.attack.tolerance
        # A loss far below its start has nothing left to gain, however fast it still falls in relative terms.
        settled = late - curve[-1] <= tolerance * max(late, tolerance * curve[0])
        self.report = {**self.tuning, "feature_loss": curve, "converged": settled}


def variation(x: Tensor, power: float) -> Tensor:
    """Total variation per image, (N, C, H, W) -> (N,): mean over pixels of (dx^2 + dy^2)^(power / 2)."""
    across, down = pad(x.diff(dim=-1), (0, 1)), pad(x.diff(dim=-2), (0, 0, 0, 1))
    # Differences below a grey level count as flat: the kink at zero would turn rounding errors into full steps.
    return (across.square() + down.square() + GREY_LEVEL**2).pow(power / 2).flatten(1).mean(1)
