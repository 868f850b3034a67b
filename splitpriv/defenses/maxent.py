"""MaxEnt-ARL: features from which the adversary can only guess uniformly."""

from __future__ import annotations

from torch import Tensor

from splitpriv.defenses.arl import Arl
from splitpriv.defenses.parts.guesser import entropy
from splitpriv.types import Step


class MaxEnt(Arl):
    """min over edge and cloud of CE(y) − weight·H(q(·|z)), while q descends CE(q(z), s) (Roy & Boddeti, CVPR 2019,
    arXiv 1904.05514; numbers of equations not at hand): the edge pushes q towards the uniform law, where H is log K,
    its maximum.

    Unlike `arl` it gains nothing from an adversary that is confidently wrong, and its term needs no s. Settings are
    those of `arl`; the authors' code has α about 0.1.

    Open: the entropy is that of one q, so a new one may still find s; and uniform guesses are only right where the
    values of s are equally frequent.
    """

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        return -self.weight * entropy(self.guesser.frozen(z))
