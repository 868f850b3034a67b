"""UnSplit: the images and a clone of the edge, both at once, from releases and the network's architecture alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splitpriv import host, progress
from splitpriv.attacks.base import Access, Attack, Reconstructor, Right
from splitpriv.attacks.rmle import variation
from splitpriv.nets import standins
from splitpriv.nets.split import Backbone
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, UserError


class UnSplit(Attack):
    """Data-oblivious inversion (Erdogan et al., WPES 2022, arXiv 2108.09033): no data, no query, no weights.

    Turn by turn (`epochs`), x̂ takes `steps` steps of Adam (AMSGrad) down |f̃(x̂) - r|^2 + `tv` TV(x̂) + `l2` |x̂|^2, from
    grey, then a clone f̃ of the edge, from fresh weights, as many down |f̃(x̂) - r|^2. All are means over an image. The
    clone is cut from `backbone` at `at`, whose architecture is known, or, without them, of plain convolutions. The
    images of a batch of victims share a clone; the paper has one image at a time.
    """

    requires: frozenset[Right] = frozenset()

    def __init__(self, *, backbone: Callable[..., Backbone] | None, at: int | str | None,
                 bottleneck: dict[str, Any] | None, width: Count, epochs: Count, steps: Count, lr: Positive,
                 clone_lr: Positive, tv: NonNegative, l2: NonNegative, batch: Count, draws: Count,
                 tolerance: Fraction) -> None:  # fmt: skip
        standins.require_both(backbone, at)
        self.backbone, self.at, self.bottleneck, self.width = backbone, at, bottleneck, width
        self.epochs, self.steps, self.lr, self.clone_lr = epochs, steps, lr, clone_lr
        self.tv, self.l2, self.batch, self.draws, self.tolerance = tv, l2, batch, draws, tolerance

    def fit(self, access: Access, home: Path) -> Alternating:
        return Alternating(self, access, home)


class Alternating(Reconstructor):
    """The search, one batch of victims after the other; a finished batch is kept in `home` and not searched again."""

    def __init__(self, attack: UnSplit, access: Access, home: Path) -> None:
        super().__init__()
        self.attack, self.access, self.home = attack, access, home
        self.report: dict[str, Any] = {}
        self._curves: list[Tensor] = []

    def forward(self, releases: Tensor) -> Tensor:
        with progress.bar("unsplit", math.ceil(len(releases) / self.attack.batch), unit="batch") as bar:
            images = []
            for part in releases.float().split(self.attack.batch):
                images.append(self._kept(part))
                bar.update()
        curve = host.to_host(torch.stack(self._curves).mean(0))
        if not all(map(math.isfinite, curve)):
            raise UserError(f".lr: the feature loss became {curve[-1]}; lower it, or clone_lr")
        late = curve[3 * (len(curve) - 1) // 4]
        settled = late - curve[-1] <= self.attack.tolerance * max(late, self.attack.tolerance * curve[0])
        self.report = {"feature_loss": curve, "converged": settled}
        return torch.cat(images)

    def _kept(self, r: Tensor) -> Tensor:
        number = len(self._curves) + 1
        path = self.home / f"batch{number}.pt"
        _, kept = state.load_state(path, {})
        if kept is None:
            state.seed_epoch(self.home.name, number)
            with torch.enable_grad():
                kept = self.alternate(r)
            state.save_state(path, 1, {}, kept)
        self._curves.append(kept[1].to(r.device))
        return kept[0].to(r.device)

    def alternate(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) of releases r, and the feature loss after every turn, (turns + 1,)."""
        attack, access = self.attack, self.access
        with access.device:
            clone = standins.either(
                access.spec, access.shape, attack.width, attack.backbone, attack.at, attack.bottleneck
            )
        clone.eval()  # whose statistics of a batch would be those of grey images
        x = torch.full((len(r), *access.spec.image), 0.5, device=r.device, requires_grad=True)
        images = torch.optim.Adam([x], attack.lr, amsgrad=True, fused=True)
        weights = torch.optim.Adam(clone.parameters(), attack.clone_lr, amsgrad=True, fused=True)

        def distance() -> Tensor:
            return (clone(x).float() - r).square().flatten(1).mean(1)

        curve = [distance().mean().detach()]
        for _ in range(attack.epochs):
            for _ in range(attack.steps):
                prior = attack.tv * variation(x, 2.0) + attack.l2 * x.square().flatten(1).mean(1)
                (slope,) = torch.autograd.grad((distance() + prior).sum(), x)
                x.grad = slope.contiguous()
                images.step()
                x.detach().clamp_(0, 1)
            for _ in range(attack.steps):
                weights.zero_grad(set_to_none=True)
                distance().mean().backward(inputs=list(clone.parameters()))
                weights.step()
            curve.append(distance().mean().detach())
        return x.detach(), torch.stack(curve)
