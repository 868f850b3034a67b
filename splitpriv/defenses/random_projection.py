"""Random projection: a linear bottleneck that was drawn, not learnt."""

from __future__ import annotations

import torch
from torch import Tensor

from splitpriv.defenses.parts.subspace import Share, Subspace


class RandomProjection(Subspace):
    """The device sends Pz, P (k, n) with entries N(0, 1/k), drawn once for a deployment; the server maps back by the
    pseudo-inverse P⁺ (Johnson & Lindenstrauss 1984; as a defence Liu, Kargupta & Ryan, TKDE 2006; numbers of equations
    not at hand).

    P⁺Pz = BBᵀz, B an orthonormal basis of P's rows: a uniform subspace of dimension k = `share`·n, all that Pz tells
    whoever knows P. On average it keeps k/n of |z|². P is drawn from the seed of the run and known to a white box;
    whoever sees n pairs of z and Pz solves for a secret one.

    Open: noise on Pz itself, which P⁺ would colour; list noise before it for noise that is white in the subspace.
    """

    def __init__(self, *, share: Share) -> None:
        super().__init__(share)

    def first(self, n: int) -> Tensor:
        return torch.linalg.qr(torch.randn(n, self.rank))[0]
