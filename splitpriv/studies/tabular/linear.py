"""MID for linear regression: a reconstruction of the paper's idea, whose formula is not public.

It minimises the squared error + λ·I(X; Ŷ), in nats. Of a deterministic Ŷ that would be infinite, so the answer carries
Gaussian noise of a fixed size.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from splitpriv.studies.tabular.data import Floats, Table
from splitpriv.types import Positive


class Linear:
    """MID-LR (reconstructed): Ŷ = wᵀx + b + ξ, ξ ~ N(0, σ²), y in units of its own standard deviation.

    `estimator` gaussian: I = ½ log(1 + wᵀΣw/σ²), exact for Gaussian wᵀx; its minimiser is least squares shrunk by one
    factor. kde: its bound from kernels at the answers to the training rows, of any shape. `noise` is σ; None: the
    residual's of least squares.
    """

    key_name: ClassVar[str] = "splitpriv.tabular.linear.Linear"

    label = "MID-LR (reconstructed)"
    headline = "r2"  # its utility
    classify = False

    def __init__(self, weight: float, *, estimator: Literal["gaussian", "kde"], noise: Positive | None) -> None:
        self.weight, self.estimator, self.noise = weight, estimator, noise

    def fit(self, table: Table) -> Linear:
        """Learn from a table; `residual` becomes the standard deviation of y about the answer's mean."""
        self.shift, self.scale = table.x.mean(0), np.maximum(table.x.std(0), 1e-12)
        self.centre, self.unit = table.y.mean(), table.y.std()
        x, y = (table.x - self.shift) / self.scale, (table.y - self.centre) / self.unit
        w = np.linalg.lstsq(x, y, rcond=None)[0]
        self.sigma = self.noise or float((y - x @ w).std())
        self.w = shrink(w, float((x @ w).var()), self.sigma, self.weight)
        if self.estimator == "kde":
            self.w = _descend_kde(x, y, self.w, self.sigma, self.weight)
        answers = x @ self.w
        self.residual = float((y - answers).std())
        self.information = (
            gaussian_information(float(answers.var()), self.sigma)
            if self.estimator == "gaussian"
            else float(kde_information(torch.from_numpy(answers), self.sigma))
        )
        return self

    def mean(self, x: Floats) -> Floats:
        """E[Ŷ|x], (N,), in standard units."""
        return ((x - self.shift) / self.scale) @ self.w

    def answer(self, x: Floats, rng: Generator) -> Floats:
        """Ŷ, (N,), in standard units."""
        return self.mean(x) + self.sigma * rng.standard_normal(len(x))

    def utility(self, table: Table, rng: Generator) -> dict[str, float]:
        """Mean squared error of E[Ŷ|x] and of Ŷ, over the variance of y in training; R² of the former."""
        y = (table.y - self.centre) / self.unit
        mse = float(((y - self.mean(table.x)) ** 2).mean())
        return {"mse": mse, "mse_released": mse + self.sigma**2, "r2": 1 - mse / float(y.var())}


def shrink(w: Floats, explained: float, sigma: float, weight: float) -> Floats:
    """The minimiser of MSE + weight·½ log(1 + wᵀΣw/σ²): t·w with w least squares and `explained` = wᵀΣw.

    t in [0, 1] solves 2 explained t²(t − 1) + (2σ² + weight) t − 2σ² = 0; of several roots, the best.
    """
    if explained <= 0:
        return w
    roots = np.roots([2 * explained, -2 * explained, 2 * sigma**2 + weight, -2 * sigma**2])
    real = roots[np.abs(roots.imag) < 1e-9].real.clip(0, 1)
    cost = explained * (real**2 - 2 * real) + weight * 0.5 * np.log1p(real**2 * explained / sigma**2)
    best: Floats = w * real[np.argmin(cost)]
    return best


def gaussian_information(variance: float, sigma: float) -> float:
    """I(X; Ŷ) of a Gaussian answer of this variance under Gaussian noise."""
    return 0.5 * math.log1p(variance / sigma**2)


def kde_information(answers: Tensor, sigma: float) -> Tensor:
    """An upper bound on I(X; Ŷ) from the means of answers (N,): −mean_i log mean_{j≠i} exp(−(ŷ_i − ŷ_j)²/2σ²).

    Differentiable. The pairwise bound of Kolchinsky & Tracey (2017) for the mixture of N(ŷ_j, σ²), each point left out
    of its own mean: the leave-one-out kernel estimate of the entropy, and half a nat for the noise that ŷ_i lacks.
    """
    n = len(answers)
    gap = (answers[:, None] - answers) / sigma
    others = (-0.5 * gap.square()).masked_fill(torch.eye(n, dtype=torch.bool), -math.inf)
    return math.log(n - 1) - others.logsumexp(1).mean()


def _descend_kde(x: Floats, y: Floats, start: Floats, sigma: float, weight: float) -> Floats:
    inputs, target = torch.from_numpy(x), torch.from_numpy(y)
    w = torch.from_numpy(start.copy()).requires_grad_()
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        answers = inputs @ w
        value = (target - answers).square().mean() + weight * kde_information(answers, sigma)
        value.backward()
        return value

    optimizer.step(loss)
    return w.detach().numpy()
