"""What fixed linear maps of z share: only its part in a subspace leaves the device."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, ClassVar

import torch
from annotated_types import Interval
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import Epoch, Shape, Spec, UserError

MOST = 2**26  # numbers in a basis: 256 MiB, which a QR makes in minutes at most
Share = Annotated[float, Interval(gt=0, le=1)]


class Subspace(Defense):
    """z' = μ + BBᵀ(z − μ): k = `share` of the n entries of z, at least one, leave as Bᵀ(z − μ), B (n, k) orthonormal,
    and the server maps them back, which shows it nothing new. So z' has the shape of z, and the rate counts k numbers.

    B is public. Noise listed before it is noise of the same σ on each of the k numbers. Until there is a basis z passes
    whole. Raises UserError where B would take more than 256 MiB.
    """

    basis: Tensor
    mean: Tensor
    strength: ClassVar[Mapping[str, str]] = {"share": "tag(log, interval(0.001, 1.0))"}

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        n = prod(shape)
        self.rank = max(1, round(self.share * n))
        if n * self.rank > MOST:
            raise UserError(f".share: {self.rank} directions of {n} entries are too many; at most {MOST / n**2:.2g} of "
                            "a release so large, or cut the network deeper")  # fmt: skip
        self.bits = 32.0 * self.rank / n
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("basis", self.first(n))

    def first(self, n: int) -> Tensor:
        """The basis (n, rank) that it starts with; zeros: none yet."""
        return torch.zeros(n, self.rank)

    def after_edge(self, z: Tensor) -> Tensor:
        flat = z.flatten(1)
        kept = self.mean + (flat - self.mean) @ self.basis @ self.basis.T
        return torch.where(self.basis.any(), kept, flat).view(z.shape)

    @property
    def facts(self) -> Mapping[str, float | str]:
        return {"directions": float(self.rank)}


def gathered(epoch: Epoch, samples: int) -> Tensor:
    """Up to `samples` of the epoch's training features, as rows (N, n)."""
    rows: list[Tensor] = []
    for z, _ in epoch.features():
        rows.append(z.flatten(1))
        if sum(map(len, rows)) >= samples:
            break
    return torch.cat(rows)[:samples]
