"""Gaussian images: x ~ N(1/2, Sigma), for which H(x|z), the MMSE and the bounds are known in closed form."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitpriv.data.base import Dataset, Signal, Split
from splitpriv.data.pools import hold_out, pools
from splitpriv.stats import gaussian
from splitpriv.types import Count, NonNegative, Positive, Rate, Spec, UserError, Whole

LARGEST = 32  # pixels a side: the covariance has their fourth power


class Gaussian(Dataset):
    """`samples` draws of x (1, size, size) with mean 1/2 and a squared-exponential covariance, never clipped.

    Sigma_ij = std^2 ((1 - nugget) exp(-|i - j|^2 / 2 length^2) + nugget [i = j]), distances in pixels. The label is the
    side of one hyperplane through the mean, the attribute "side" that of another, chosen so that both are independent.
    `spec.entropy` is H(x) = 1/2 log det(2 pi e Sigma), nats. All draws come from `seed`.
    """

    ships = True

    def __init__(
        self,
        *,
        size: Count,
        samples: Count,
        std: Positive,
        length: Positive,
        nugget: Positive,
        test_share: Rate,
        seed: Whole,
        crop: Whole,
        flip: bool,
        rotation: NonNegative,
    ) -> None:
        if nugget > 1:
            raise UserError(f"dataset.nugget: {nugget} is a share of the variance; keep it above 0 and at most 1")
        if size > LARGEST:
            raise UserError(
                f"dataset.size: {size} pixels a side need a covariance of {size**4:.2g} entries; at most {LARGEST}"
            )
        self.crop, self.flip, self.rotation = crop, flip, rotation
        self.size, self.samples, self.std, self.length, self.nugget = size, samples, std, length, nugget
        self.test_share, self.seed = test_share, seed
        _, log_det = np.linalg.slogdet(2 * math.pi * math.e * self.covariance())
        fisher = float(np.linalg.inv(self.covariance()).trace())
        self.spec = Spec(
            (1, size, size), 2, {"side": 2}, (0.5,), (std,), entropy=float(log_det) / 2, fisher=fisher
        )  # fmt: skip

    @property
    def origin(self) -> str:
        return f"{super().origin} of seed {self.seed}"

    def covariance(self) -> NDArray[np.float64]:
        """Sigma (d, d), float64, pixels in row-major order."""
        axis = np.arange(self.size, dtype=np.float64)
        gap = (axis[:, None] - axis) ** 2
        kernel = np.exp(-gap / (2 * self.length**2))
        smooth = np.kron(kernel, kernel)
        sigma: NDArray[np.float64] = self.std**2 * ((1 - self.nugget) * smooth + self.nugget * np.eye(len(smooth)))
        return sigma

    def planes(self) -> NDArray[np.float64]:
        """Normals (2, d) of the label's and of the attribute's hyperplane; smooth, and uncorrelated under Sigma."""
        sigma = self.covariance()
        label, side = np.random.RandomState(self.seed).standard_normal((2, len(sigma))) @ sigma
        side = side - label * (label @ sigma @ side) / (label @ sigma @ label)
        return np.stack([label, side])

    def least_error(self, root: Path, signal: Signal, std: Tensor | float) -> dict[str, float]:
        """The closed form, where `signal` is linear in x: W is read off from unit vectors, and tried on draws of x."""
        d, sigma = self.size**2, torch.as_tensor(std).cpu().double()
        units = torch.cat(
            [torch.zeros(1, d), torch.eye(d), 0.5 + 0.1 * torch.randn(8, d, generator=torch.Generator().manual_seed(0))]
        )
        signals = signal(units.view(-1, *self.spec.image).to(std.device if isinstance(std, Tensor) else "cpu"))
        offset, columns, tried = signals.cpu().double().flatten(1).split([1, d, 8])
        weight = (columns - offset).mT
        if not torch.allclose(offset + units[-8:].double() @ weight.mT, tried, rtol=1e-4, atol=1e-4):
            return {}
        scaled = weight / sigma.expand(signals.shape[1:]).flatten()[:, None]
        return {"gaussian_mmse": gaussian.mmse(torch.from_numpy(self.covariance()), scaled, 1.0)}

    def pools(self, root: Path) -> dict[str, Split]:
        factor = np.linalg.cholesky(self.covariance())
        white = np.random.RandomState(self.seed + 1).standard_normal((self.samples, len(factor)))
        offset = (white @ factor.T).astype(np.float32)
        y, side = torch.from_numpy((offset @ self.planes().T > 0).astype(np.int64)).unbind(1)
        images = torch.from_numpy(offset + np.float32(0.5)).reshape(-1, *self.spec.image)
        order, train = hold_out(self.samples, self.test_share, self.seed)
        return pools(images, y.contiguous(), {"side": side.contiguous()}, train, order)
