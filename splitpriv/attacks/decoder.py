"""The inverse network: a decoder trained on the adversary's own (release, image) pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from splitpriv import host, progress, resume
from splitpriv.attacks.base import Access, Attack, Reconstructor, Right, even, flat
from splitpriv.stats.ssim import Padding, ssim
from splitpriv.types import Count, Fraction, NonNegative, Positive, Rate, UserError


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


class Decoder(Attack):
    """Inverse network (He et al. 2019, ACSAC; the decoder attack of ResSFL and CEM).

    Every epoch meets fresh releases of aux, with all noise, dropout and masks of the chain on. `held` is the share of
    aux kept for early stopping (`patience` epochs without a better MSE; null: never) and for `select: best`.
    Raises UserError where selection has nothing to look at, and when the loss stops being a number.
    """

    requires: frozenset[Right] = frozenset({"query", "aux"})

    def __init__(self, *, net: Callable[..., nn.Module], epochs: Count, batch: Count, lr: Positive, min_lr: NonNegative,
                 weight_decay: NonNegative, loss: Literal["mse", "l1", "ssim", "mixed"], ssim_weight: NonNegative,
                 ssim_padding: Padding, held: Rate, patience: Count | None, select: Literal["best", "last"],
                 tolerance: Fraction, draws: Count) -> None:  # fmt: skip
        if held == 0 and (select == "best" or patience is not None):
            raise UserError("attack.decoder.held: 0 leaves nothing to select on; use select=last and patience=null")
        self.net, self.epochs, self.batch, self.draws = net, epochs, batch, draws
        self.lr, self.min_lr, self.weight_decay = lr, min_lr, weight_decay
        self.kind, self.ssim_weight, self.ssim_padding = loss, ssim_weight, ssim_padding
        self.held, self.patience, self.select, self.tolerance = held, patience, select, tolerance

    def fit(self, access: Access, home: Path) -> Inverse:
        resume.seed_epoch(home.name, 0)
        order = torch.randperm(len(access.aux), device=access.device)
        apart = max(1, round(self.held * len(order))) if self.held else 0
        with access.device:
            net, best = (self.net(access.shape, access.spec.image) for _ in range(2))
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
                    raise UserError(
                        f"attack.decoder.lr: the loss became {curve['train'][-1]} in epoch {epoch + 1}; lower lr"
                    )
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
