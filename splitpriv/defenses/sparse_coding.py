"""Sparse coding: what leaves is z as a few atoms of a learnt dictionary tell it."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.stats.lasso import lasso, unit, violation
from splitpriv.types import Count, Epoch, NonNegative, Positive, Shape, Spec, Step, UserError


class SparseCoding(Defense):
    """z' = Φa, a the sparse code of z: argmin over a of ½|v − Φa|² + λ|a|₁ for each patch v of z (Dibbo et al., ECCV
    2024, arXiv 2403.14772, SCA; numbers of equations not at hand). λ is `threshold`. Where the paper takes steps of the
    locally competitive algorithm (Rozell et al. 2008), these are `iterations` accelerated ones (FISTA) towards the same
    optimum: LCA needs thousands. `facts` have `kkt`, by how much codes still miss the optimum's conditions.

    Patches of `patch` x `patch` places, all channels, side by side, a map that they do not tile padded with zeros; of
    tokens and vectors the last dimension. Φ has `overcomplete` times as many atoms as a patch has entries, each of
    length 1. It learns to tell z, ½|v − Φa|² with the code held (`dictionary` is the weight of its mean over entries),
    and from the task. Codes and z' say the same to whoever knows Φ, which a white box does.

    Open: the paper interleaves such layers with dense ones through the network, by convolutions of overlapping patches,
    and has no split: here one layer stands at the cut. Its λ is for images with unit scale. The gradient passes the
    last steps of the solution alone: about nine tenths of the whole.
    """

    strength: ClassVar[Mapping[str, str]] = {"threshold": "tag(log, interval(0.01, 3.0))"}
    active: Tensor  # share of the codes that is not zero, on a batch of training images
    kkt: Tensor  # the largest violation of the lasso's conditions there, in units of z as `threshold` is
    version = 2  # codes are the optimum's

    def __init__(self, *, threshold: NonNegative, overcomplete: Annotated[float, Interval(gt=0, le=16)], patch: Count,
                 iterations: Annotated[int, Interval(ge=1, le=10_000)], dictionary: Positive) -> None:  # fmt: skip
        super().__init__()
        self.threshold, self.overcomplete, self.patch = threshold, overcomplete, patch
        self.iterations, self.dictionary = iterations, dictionary
        self._held: tuple[Tensor, Tensor] | None = None  # patches and codes of the step's release

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self.tiles = self.patch if len(shape) == 3 else 1
        if len(shape) == 3 and self.tiles > max(shape[1:]):
            raise UserError(f".patch: {self.patch} places are more than z of {shape[1]}x{shape[2]} has; give at most "
                            f"{max(shape[1:])}")  # fmt: skip
        entries = shape[0] * self.tiles**2 if len(shape) == 3 else shape[-1]
        self.atoms = nn.Parameter(torch.randn(entries, max(1, round(self.overcomplete * entries))))
        self.register_buffer("active", torch.zeros(()))
        self.register_buffer("kkt", torch.zeros(()))

    def patches(self, z: Tensor) -> Tensor:
        """z (N, ...) as (N, patches, entries)."""
        if z.dim() < 4:
            return z.view(len(z), -1, z.shape[-1])
        height, width = (ceil(side / self.tiles) * self.tiles for side in z.shape[2:])
        z = F.pad(z, (0, width - z.shape[3], 0, height - z.shape[2]))
        return F.unfold(z, self.tiles, stride=self.tiles).mT

    def joined(self, v: Tensor, z: Tensor) -> Tensor:
        """Patches back in the shape of z."""
        if z.dim() < 4:
            return v.reshape(z.shape)
        height, width = (ceil(side / self.tiles) * self.tiles for side in z.shape[2:])
        whole = F.fold(v.mT, (height, width), self.tiles, stride=self.tiles)
        return whole[:, :, : z.shape[2], : z.shape[3]]

    def code(self, v: Tensor) -> Tensor:
        """a (N, patches, atoms) of patches v."""
        return lasso(v, unit(self.atoms), self.threshold, self.iterations)

    def after_edge(self, z: Tensor) -> Tensor:
        v = self.patches(z)
        a = self.code(v)
        self._held = (v.detach(), a.detach()) if self.training else None
        return self.joined(a @ unit(self.atoms).T, z)

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        """The dictionary's own loss: the gradient ends in it."""
        if self._held is None:
            with torch.no_grad():
                v = self.patches(z)
                self._held = v, self.code(v)
        (v, a), self._held = self._held, None
        return self.dictionary * (v - a @ unit(self.atoms).T).square().mean() / 2

    @torch.no_grad()
    def on_epoch_end(self, epoch: Epoch) -> None:
        for z, _ in epoch.features():
            v = self.patches(z)
            a = self.code(v)
            self.active.copy_((a != 0).float().mean())
            self.kkt.copy_(violation(v, a, unit(self.atoms), self.threshold).amax())
            break

    @property
    def facts(self) -> Mapping[str, float | str]:
        return {"active": float(self.active), "kkt": float(self.kkt)}
