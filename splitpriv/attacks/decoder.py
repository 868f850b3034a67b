"""The inverse network: a decoder trained on the adversary's own (release, image) pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from splitpriv import host
from splitpriv.attacks.base import Access, Attack, Observed, Right, even
from splitpriv.attacks.training import (
    Curve,
    Learned,
    Marked,
    Select,
    Standardise,
    Stop,
    Training,
    average,
    cosine,
    learn,
    losses,
    shares,
)
from splitpriv.stats.ssim import Padding, ssim
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, Rate, UserError


class Inverse(Learned):
    """A trained decoder: release (N, *shape) -> image in [0, 1] (N, C, H, W)."""

    def forward(self, releases: Tensor) -> Tensor:
        return super().forward(releases).clamp(0, 1)


class Decoder(Attack):
    """Inverse network (He et al. 2019, ACSAC; the decoder attack of ResSFL and CEM).

    Every epoch meets fresh releases of aux, with all noise, dropout and masks of the chain on. `held` is the share of
    aux kept for early stopping (`patience` epochs without a better MSE; null: never) and for `select: best`.
    With `standardise` the net sees releases less their mean over aux, in units of each channel's spread: neither an
    offset nor the scale of a release slows its training. With `mask` it also sees which entries carry a value: those
    that the chain's fixed mask keeps and that are not exactly 0, as dropout leaves them (He et al. 2020).
    With another `observe` than release it inverts the server's answer: adversarial knowledge alignment (Yang et al.
    2019, CCS), where topk shows the `top` largest confidences and zeros. Raises UserError where selection has nothing
    to look at, for a mask of anything but the release, and when the loss stops being a number.

    With `halves` it learns a second time, in as many steps, from half of the images. The share by which the held-out
    error fell from half to all of them is reported as what twice the aux would bring (`gain_from_twice_aux`).
    """

    added: ClassVar[Mapping[str, Any]] = {"halves": False}
    around: Callable[[Standardise], Standardise] = staticmethod(
        lambda plain: plain
    )  # what knows more than releases say

    def __init__(self, *, net: Callable[..., nn.Module], epochs: Count, batch: Count, lr: Positive, min_lr: NonNegative,
                 betas: tuple[Rate, Rate], amsgrad: bool, weight_decay: NonNegative,
                 loss: Literal["mse", "l1", "ssim", "mixed"], ssim_weight: NonNegative, ssim_padding: Padding,
                 held: Rate, patience: Count | None, select: Select, tolerance: Fraction, standardise: bool, mask: bool,
                 observe: Observed, top: Count, halves: bool, draws: Count) -> None:  # fmt: skip
        if halves and not held:
            raise UserError(".halves: compares errors on held-out aux, and held is 0; raise held, or use halves=false")
        if mask and observe != "release":
            raise UserError(f".mask: is of the release, but the attack observes {observe}; use mask=false")
        self.net, self.epochs, self.batch, self.draws, self.standardise = net, epochs, batch, draws, standardise
        self.lr, self.min_lr, self.betas, self.amsgrad, self.weight_decay = lr, min_lr, betas, amsgrad, weight_decay
        self.kind, self.ssim_weight, self.ssim_padding = loss, ssim_weight, ssim_padding
        self.stop = Stop(held, patience, select, tolerance)
        self.mask, self.observe, self.top, self.halves = mask, observe, top, halves

    @property
    def requires(self) -> frozenset[Right]:  # type: ignore[override]
        return frozenset({"query", "aux", "mask"} if self.mask else {"query", "aux"})

    @property
    def adapts(self) -> frozenset[str]:
        return super().adapts | ({"mask"} if self.mask else set())

    def fit(self, access: Access, home: Path) -> Inverse:
        apart, rest = self.shares(access, home)
        best, curve, training = self._learn(access, home / "last.pt", home.name, apart, rest)
        state.save_tensors(home / "decoder.safetensors", best.state_dict())
        settled = training.settled(curve, self.blind(access, apart, rest))
        report = {**curve, "epochs": len(curve["train"]), "converged": settled}
        if self.halves:
            half = rest[: max(1, len(rest) // 2)]
            _, less, _ = self._learn(access, home / "half.pt", f"{home.name} half", apart, half, passes=2)
            report["gain_from_twice_aux"] = 1 - min(curve["held"]) / max(min(less["held"]), 1e-12)
        return Inverse(best, report)

    def _learn(self, access: Access, path: Path, key: str, apart: Tensor, rest: Tensor,
               passes: int = 1) -> tuple[nn.Module, Curve, Training]:  # fmt: skip
        """The chosen net, its curve and the training that gave it; an epoch meets every image `passes` times."""
        with access.device:
            net, best = self.fresh(access), self.fresh(access)
        scale = net[0]
        if self.standardise and isinstance(scale, Standardise):
            order = torch.cat([apart, rest])
            scale.measure(access.aux.release(part, self.draws) for part in order.split(self.batch))
        optimizer = torch.optim.Adam(
            net.parameters(), lr=self.lr, betas=self.betas, amsgrad=self.amsgrad, weight_decay=self.weight_decay,
            fused=True,
        )  # fmt: skip

        def epoch(index: int) -> dict[str, Tensor]:
            cosine(optimizer, self.lr, self.min_lr, index / self.epochs)
            seen = rest.repeat(passes)
            train = learn(net, optimizer, seen, self.batch, lambda part: self._loss(*self.pair(net, access, part)))
            return losses(train, apart, lambda part: self.held_mse(net, access, part))

        training = Training("decoder", path, key, self.epochs, self.stop)
        return best, training.run(net, best, {"optimizer": optimizer}, epoch), training

    def shares(self, access: Access, home: Path) -> tuple[Tensor, Tensor]:
        """Indices of aux that `fit` in `home` holds out, and of those it learns from."""
        return shares(access, home.name, self.stop.held)

    def fresh(self, access: Access) -> nn.Sequential:
        """An untrained decoder of releases, with what stands before it."""
        first = self.first(access)
        return nn.Sequential(first, self.net(first.shape, access.spec.image))

    def first(self, access: Access) -> Standardise:
        """What releases pass before the net."""
        return self.around(Marked(access.shape, access.mask) if self.mask else Standardise(access.shape))

    def pair(self, net: nn.Module, access: Access, part: Tensor) -> tuple[Tensor, Tensor]:
        """What `net` makes of fresh releases of the images of aux at `part` (n,), and those images, (n, C, H, W)."""
        releases = access.aux.release(part, self.draws)
        with access.autocast():
            images = net(releases)
        return images.float(), access.aux.split.x(part)

    def held_mse(self, net: nn.Module, access: Access, index: Tensor) -> Tensor:
        """MSE of `net` on fresh releases of the images of aux at `index` (n,); leaves it in evaluation mode."""

        def mse(part: Tensor) -> Tensor:
            decoded, x = self.pair(net, access, part)
            return (decoded - x).square().mean()

        return average(net, index, self.batch, mse)

    @torch.no_grad()
    def blind(self, access: Access, apart: Tensor, rest: Tensor) -> float:
        """What the curve would show of a net that always answers the mean image of aux at `rest`."""
        parts = (access.aux.split.x(part).double().sum(0) for part in rest.split(self.batch))
        mean = (sum(parts, torch.zeros((), dtype=torch.float64)) / len(rest)).float()
        loss = self._loss if not len(apart) else lambda decoded, x: (decoded - x).square().mean()
        shown = apart if len(apart) else rest
        images = (access.aux.split.x(part) for part in even(shown, self.batch))
        values = [loss(mean.expand_as(x), x) * len(x) for x in images]
        return host.to_host(torch.stack(values).sum()[None] / len(shown))[0]

    def _loss(self, decoded: Tensor, x: Tensor) -> Tensor:
        if self.kind == "l1":
            return (decoded - x).abs().mean()
        if self.kind == "mse":
            return (decoded - x).square().mean()
        unlike = 1 - ssim(decoded, x, self.ssim_padding).mean()
        return unlike if self.kind == "ssim" else (decoded - x).square().mean() + self.ssim_weight * unlike
