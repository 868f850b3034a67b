"""Principal components: only the directions in which features vary most leave the device."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from splitpriv.defenses.parts.aside import aside
from splitpriv.defenses.parts.subspace import Share, Subspace, gathered
from splitpriv.types import Epoch


class Pca(Subspace):
    """z on its first k principal components (Osia et al., IoT-J 2020, arXiv 1703.02952, §IV), k a `share` of its
    entries. The mean squared error that it makes of z is the sum of the eigenvalues that it drops.

    Mean and components are those of up to `samples` training features, as the edge is at the end of each epoch; edge
    and cloud learn through those of the epoch before, and the first epoch through none. A public code fits them anew on
    every batch, which no server could undo: here they are fixed when the training ends.

    Open: the paper gives the number of components per network, not a rule.
    """

    def __init__(self, *, share: Share, samples: Annotated[int, Ge(2)]) -> None:
        super().__init__(share)
        self.samples = samples

    @torch.no_grad()
    def on_epoch_end(self, epoch: Epoch) -> None:
        self.learn(gathered(epoch, self.samples))

    def learn(self, flat: Tensor) -> None:
        """Take mean and components of features (N, n); where N - 1 < k, those that there are."""
        self.mean.copy_(flat.mean(0))
        most = min(flat.shape)
        with aside(seed=0):
            _, _, found = torch.svd_lowrank(flat - self.mean, q=min(most, self.rank + 10), niter=4)
        found = found[:, : min(self.rank, most)]
        self.basis.zero_()
        self.basis[:, : found.shape[1]] = found
