"""The inverse network: a decoder trained on the adversary's own (release, image) pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from splitpriv import host, progress, resume
from splitpriv.attacks.base import Access, Attack, Reconstructor, Right, even, flat
from splitpriv.stats.ssim import Padding, ssim
from splitpriv.types import Count, Fraction, NonNegative, Positive, Rate, Shape, UserError


class Inverse(Reconstructor):
    """A trained decoder; it stays in evaluation mode, so that scoring never moves its statistics."""

    def __init__(self, net: nn.Module, report: dict[str, object]) -> None:
        super().__init__()
        self.net, self.report = net.requires_grad_(False), report
        self.train(False)

    def train(self, mode: bool = True) -> Inverse:
        return super().train(False)

    def forward(self, releases: Tensor) -> Tensor:
        return self.net(releases).float().clamp(0, 1)


class Standardise(nn.Module):
    """Releases (N, *shape) less their mean, entry by entry, over their channel's spread; as they are until measured."""

    mean: Tensor
    spread: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape[0], *[1] * (len(shape) - 1)))

    def measure(self, releases: Iterable[Tensor]) -> None:
        """Mean and spread of all `releases`; a channel that hardly varies grows by 1,000 times the others at most."""
        count, total = 0, torch.zeros_like(self.mean, dtype=torch.float64)  # in fp32 an offset drowns squares
        squares = total
        for r in map(Tensor.double, releases):
            count, total, squares = count + len(r), total + r.sum(0), squares + r.square().sum(0)
        self.mean.copy_(total / count)
        variance = (squares / count - (total / count).square()).clamp_min(0).view(len(self.spread), -1).mean(1)
        floor = 1e-6 * variance.mean() + torch.finfo(variance.dtype).tiny
        self.spread.copy_(variance.maximum(floor).sqrt().view_as(self.spread))

    def forward(self, releases: Tensor) -> Tensor:
        return (releases - self.mean) / self.spread


class Decoder(Attack):
    """Inverse network (He et al. 2019, ACSAC; the decoder attack of ResSFL and CEM).

    Every epoch meets fresh releases of aux, with all noise, dropout and masks of the chain on. `held` is the share of
    aux kept for early stopping (`patience` epochs without a better MSE; null: never) and for `select: best`.
    With `standardise` the net sees releases less their mean over aux, in units of each channel's spread: neither an
    offset nor the scale of a release slows its training. Raises UserError where selection has nothing to look at, and
    when the loss stops being a number.
    """

    requires: frozenset[Right] = frozenset({"query", "aux"})

    def __init__(self, *, net: Callable[..., nn.Module], epochs: Count, batch: Count, lr: Positive, min_lr: NonNegative,
                 weight_decay: NonNegative, loss: Literal["mse", "l1", "ssim", "mixed"], ssim_weight: NonNegative,
                 ssim_padding: Padding, held: Rate, patience: Count | None, select: Literal["best", "last"],
                 tolerance: Fraction, standardise: bool, draws: Count) -> None:  # fmt: skip
        if held == 0 and (select == "best" or patience is not None):
            raise UserError(".held: 0 leaves nothing to select on; use select=last and patience=null")
        self.net, self.epochs, self.batch, self.draws, self.standardise = net, epochs, batch, draws, standardise
        self.lr, self.min_lr, self.weight_decay = lr, min_lr, weight_decay
        self.kind, self.ssim_weight, self.ssim_padding = loss, ssim_weight, ssim_padding
        self.held, self.patience, self.select, self.tolerance = held, patience, select, tolerance

    def fit(self, access: Access, home: Path) -> Inverse:
        resume.seed_epoch(home.name, 0)
        order = torch.randperm(len(access.aux), device=access.device)
        apart = max(1, round(self.held * len(order))) if self.held else 0
        with access.device:
            scale, image = Standardise(access.shape), access.spec.image
            net = nn.Sequential(scale, self.net(access.shape, image))
            best = nn.Sequential(Standardise(access.shape), self.net(access.shape, image))
        if self.standardise:
            scale.measure(access.aux.release(part, self.draws) for part in order.split(self.batch))
        optimizer = torch.optim.Adam(net.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=True)
        parts = {"net": net, "best": best, "optimizer": optimizer}
        done, curve = resume.load_state(home / "last.pt", parts)
        curve = curve or {"train": [], "held": []}
        with progress.bar("decoder", self.epochs, initial=done) as bar:
            for epoch in range(done, self.epochs):
                if self._stale(curve["held"]):
                    break
                resume.seed_epoch(home.name, epoch + 1)
                losses = [self._train(net, optimizer, access, order[apart:], epoch)]
                losses += [self._held(net, access, order[:apart])] if apart else []
                for name, value in zip(curve, host.to_host(torch.stack(losses)), strict=False):
                    curve[name].append(value)
                if not math.isfinite(curve["train"][-1]):
                    raise UserError(f".lr: the loss became {curve['train'][-1]} in epoch {epoch + 1}; lower lr")
                if self.select == "last" or curve["held"][-1] <= min(curve["held"]):
                    best.load_state_dict(net.state_dict())
                resume.save_state(home / "last.pt", epoch + 1, parts, curve)
                bar.set_postfix({name: f"{values[-1]:.4f}" for name, values in curve.items() if values}, refresh=False)
                bar.update()
        resume.save_tensors(home / "decoder.safetensors", best.state_dict())
        settled = self._stale(curve["held"]) or flat(curve["held"] or curve["train"], self.tolerance)
        return Inverse(best, {**curve, "epochs": len(curve["train"]), "converged": settled})

    def _train(self, net: nn.Module, optimizer: torch.optim.Optimizer, access: Access, index: Tensor,
               epoch: int) -> Tensor:  # fmt: skip
        for group in optimizer.param_groups:
            group["lr"] = self.min_lr + (self.lr - self.min_lr) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        net.train()
        total = torch.zeros((), device=access.device)
        for part in even(index[torch.randperm(len(index), device=index.device)], self.batch):
            loss = self._loss(self._decode(net, access, part), access.aux.split.x(part))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(part)
        return total / len(index)

    @torch.no_grad()
    def _held(self, net: nn.Module, access: Access, index: Tensor) -> Tensor:
        net.eval()
        total = torch.zeros((), device=access.device)
        for part in even(index, self.batch):
            total += (self._decode(net, access, part) - access.aux.split.x(part)).square().mean() * len(part)
        return total / len(index)

    def _decode(self, net: nn.Module, access: Access, part: Tensor) -> Tensor:
        releases = access.aux.release(part, self.draws)
        with access.autocast():
            images = net(releases)
        return images.float()

    def _loss(self, decoded: Tensor, x: Tensor) -> Tensor:
        if self.kind == "l1":
            return (decoded - x).abs().mean()
        if self.kind == "mse":
            return (decoded - x).square().mean()
        unlike = 1 - ssim(decoded, x, self.ssim_padding).mean()
        return unlike if self.kind == "ssim" else (decoded - x).square().mean() + self.ssim_weight * unlike

    def _stale(self, held: list[float]) -> bool:
        return self.patience is not None and len(held) - (held.index(min(held)) if held else 0) > self.patience
