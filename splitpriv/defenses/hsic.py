"""HSIC: features that depend little on the image, in the sense of a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from splitpriv.defenses.base import Defense
from splitpriv.stats.hsic import gaussian_kernel, hsic, nhsic
from splitpriv.types import NonNegative, Positive, Step


class Hsic(Defense):
    """Adds weight·HSIC(x, z) to the task loss, x the training image as augmented, in [0, 1].

    `form` hsic: tr(K H L H)/(N − 1)² (Gretton et al. 2005); nhsic: tr(R_K R_L)/(N − 1), R as in BiDO (Fukumizu et al.
    2007). Either is 0 for independence and at most 1. Kernels are Gaussian, exp(−|a − b|²/(2 σ² D)) over the D values
    of an image or of z; `sigma` null takes the batch's median distance for the width, so that shrinking z is no gain.

    Open: no paper of split inference states it alone; it is the first half of BiDO (Peng et al. 2022), which chooses
    σ = 5 for the normalised form. Estimated from a batch, it is biased upwards.
    """

    strength: ClassVar[Mapping[str, str]] = {"weight": "tag(log, interval(0.1, 100.0))"}

    def __init__(self, *, weight: NonNegative, sigma: Positive | None, form: Literal["hsic", "nhsic"]) -> None:
        super().__init__()
        self.weight, self.sigma, self.form = weight, sigma, form

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        k, l = (gaussian_kernel(v, self.sigma) for v in (step.x, z))  # noqa: E741
        value = nhsic(k, l) / max(1, len(k) - 1) if self.form == "nhsic" else hsic(k, l)
        return (self.weight * value).to(z.dtype)
