"""An inverse network that is told who, or what, the release is of, as far as the release itself says so."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from splitpriv.attacks.base import Access, Attack, Right
from splitpriv.attacks.decoder import Decoder, Inverse
from splitpriv.attacks.probe import Probe
from splitpriv.attacks.training import Learned, Marked, Standardise, inner_home
from splitpriv.types import Count, UserError, blame


class IdentityConditioned(Attack):
    """A decoder conditioned on an embedding of an attribute, an identity or the class (`probe.attribute`).

    First `probe`, which reads the attribute off releases; then `base`, an inverse network that sees beside a release,
    as `width` further channels, the mean of learned embeddings of the attribute's values under what the probe says of
    this release. So what the decoder is told in training is what it is told of victims, and no label of theirs is
    needed. After conditional generators of model inversion, which are given the identity. Identities of aux are others
    than the victims': there the embedding says whom somebody resembles.
    """

    attribute_key: ClassVar[str] = "probe.attribute"

    def __init__(self, *, base: Callable[[], Decoder], probe: Callable[[], Probe], width: Count) -> None:
        with blame(".base"):
            self.base = base()
        with blame(".probe"):
            self.probe = probe()
        if type(self.base) is not Decoder or self.base.observe != "release":
            raise UserError(".base: only an inverse network of releases can be conditioned; use decoder")
        if not isinstance(self.probe, Probe):
            raise UserError(".probe: only an attack on an attribute can condition a decoder; use probe")
        if self.probe.draws != self.base.draws:
            raise UserError(f".probe.draws: is {self.probe.draws}, but the decoder averages {self.base.draws}; "
                            "set both alike")  # fmt: skip
        self.width, self.draws, self.attribute = width, self.base.draws, self.probe.attribute

    @property
    def requires(self) -> frozenset[Right]:  # type: ignore[override]
        return self.base.requires | self.probe.requires

    @property
    def adapts(self) -> frozenset[str]:
        return self.base.adapts

    def fit(self, access: Access, home: Path) -> Inverse:
        with blame(".probe"):
            told = self.probe.fit(access, inner_home(home, "probe"))
        values = {"y": access.spec.classes, **access.spec.attributes}[self.attribute]
        base = copy(self.base)
        base.around = lambda plain: Conditioned(plain, told, values, self.width)
        with blame(".base"):
            inverse = base.fit(access, home)
        inverse.report["converged"] = bool(inverse.report["converged"] and told.report["converged"])
        return inverse


class Conditioned(Standardise):
    """Releases as `plain` makes them, and beside them the embedding of what `told` says of each."""

    def __init__(self, plain: Standardise, told: Learned, values: int, width: int) -> None:
        super().__init__(tuple(plain.mean.shape))
        self.plain, self.told, self.embed = plain, told, nn.Linear(values, width, bias=False)
        self.side = 1 if len(plain.shape) == 2 else 0
        self.shape = tuple(n + width if i == self.side else n for i, n in enumerate(plain.shape))
        self.marked = isinstance(plain, Marked)

    def measure(self, releases: object) -> None:
        self.plain.measure(releases)  # type: ignore[arg-type]

    def forward(self, releases: Tensor) -> Tensor:
        seen = self.plain(releases)
        with torch.no_grad():
            said = self.told(releases).softmax(1)
        embedding = self.embed(said)
        places = embedding[:, None] if self.side else embedding.view(*embedding.shape, *[1] * (seen.dim() - 2))
        wide = [-1] * seen.dim()
        wide = [n if i not in (0, 1 + self.side) else w for i, (n, w) in enumerate(zip(seen.shape, wide, strict=True))]
        return torch.cat([seen, places.expand(wide)], 1 + self.side)
