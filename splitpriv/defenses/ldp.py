"""Noise with a stated local differential privacy, as opposed to the uncalibrated noise of the papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from splitpriv.defenses.base import Defense
from splitpriv.stats import dp
from splitpriv.types import Positive


class LDP(Defense):
    """Each z is scaled into a ball of norm C, so that any two differ by at most 2C, then noised for a stated (ε, δ).

    `mechanism` laplace: L1 ball, b = 2C/ε, δ = 0 whatever `delta` says. gaussian: L2 ball, σ by the classical formula
    for ε <= 1 and by the analytic one above (Balle & Wang 2018; numbers of equations not at hand). The guarantee is per
    release, between any two images, and holds in exact arithmetic; later parts of the chain only post-process.

    Open: how C is chosen, and for how many releases a budget is meant: m of an image spend m·ε at most. Public codes
    (ResSFL, CEM) clip nothing and take δ = 1e-4, so that theirs is noise without a guarantee.
    """

    adaptive = frozenset({"draws"})

    strength: ClassVar[Mapping[str, str]] = {"epsilon": "tag(log, interval(0.1, 1e5))"}

    def __init__(
        self,
        *,
        mechanism: Literal["gaussian", "laplace"],
        clip: Positive,
        epsilon: Positive,
        delta: Annotated[float, Interval(gt=0, lt=1)],
    ) -> None:
        super().__init__()
        self.mechanism, self.clip, self.epsilon = mechanism, clip, epsilon
        self.delta = delta if mechanism == "gaussian" else 0.0
        self.sensitivity = 2 * clip
        if mechanism == "gaussian":
            self.scale = dp.gaussian_sigma(epsilon, delta, self.sensitivity)
        else:
            self.scale = dp.laplace_scale(epsilon, self.sensitivity)

    @property
    def noise_std(self) -> float:
        return self.scale if self.mechanism == "gaussian" else self.scale * 2**0.5

    def total_epsilon(self, releases: int) -> float:
        """ε of `releases` releases of one image, at the same δ."""
        if self.mechanism == "laplace":
            return releases * self.epsilon
        return dp.gaussian_epsilon(self.delta, self.scale, self.sensitivity, releases)

    @property
    def facts(self) -> Mapping[str, float | str]:
        """`certificate`: the guarantee in words."""
        m16, m256 = self.total_epsilon(16), self.total_epsilon(256)
        said = (
            f"({self.epsilon:g}, {self.delta:g})-LDP per release ({self.mechanism}, clipped to {self.clip:g}, "
            f"scale {self.scale:.4g}); m releases of one image compose: ε = {m16:.4g} for 16, {m256:.4g} for 256"
        )
        return {"certificate": said}

    def after_edge(self, z: Tensor) -> Tensor:
        noise = torch.randn_like(z) if self.mechanism == "gaussian" else dp.laplace_like(z)
        return self.expected(z) + self.scale * noise

    def expected(self, z: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(z.flatten(1), 2 if self.mechanism == "gaussian" else 1, dim=1)
        shrink = self.clip / norm.clamp(min=self.clip)
        return z * shrink.view(-1, *[1] * (z.dim() - 1))
