"""TL-DMI: the first layers never learn from private data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from splitpriv.defenses.base import Defended, Defense
from splitpriv.types import Count, Phase, Shape, Spec, UserError


class TlDmi(Defense):
    """Transfer learning as a defence (Ho et al., CVPR 2024; numbers of equations not at hand): a network that was
    trained on public data keeps its first `layers` as they are, weights and statistics, and only the rest learns from
    the private data (their θ_C and θ_S).

    Layers are modules with parameters, counted from the image on, over edge and cloud: convolutions, linear layers and
    norms alike, as the authors' code counts a VGG's. The public weights are those of backbone.weights; without any the
    first layers stay as they were drawn, which keeps them just as ignorant of private data and costs more accuracy.

    What it protects is what the network remembers of training images, seen through its answers. Of an image that is
    sent it hides nothing. Open: which layer to freeze up to, which the authors choose per network. Raises UserError
    where nothing would be left to learn.
    """

    adaptive: ClassVar[frozenset[str]] = frozenset({"network"})
    strength: ClassVar[Mapping[str, str]] = {"layers": "int(interval(1, 6))"}

    def __init__(self, *, layers: Count) -> None:
        super().__init__()
        self.layers = layers
        self._facts: dict[str, float] = {}

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        found = {name: sum(p.numel() for p in module.parameters(recurse=False))
                 for name, module in model.net.named_modules() if [*module.parameters(recurse=False)]}  # fmt: skip
        if self.layers >= len(found):
            raise UserError(f".layers: {self.layers} of {len(found)} layers leave nothing to learn; "
                            f"give at most {len(found) - 1}")  # fmt: skip
        frozen = tuple(found)[: self.layers]
        self.phases = (Phase("fit", frozen=frozen),)
        self._facts = {"frozen_parameters": float(sum(found[name] for name in frozen))}

    @property
    def facts(self) -> Mapping[str, float]:
        """`frozen_parameters`: how many numbers of the network no private image has touched."""
        return self._facts
