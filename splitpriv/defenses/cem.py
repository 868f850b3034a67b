"""CEM: conditional entropy maximisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.cem_paper import MixtureLoss
from splitpriv.defenses.parts.cem_released import SHARE, ClusterLoss
from splitpriv.defenses.parts.noisy import require_noise
from splitpriv.stats.kmeans import by_class, lloyd, seed_centres
from splitpriv.stats.mixture import Covariance
from splitpriv.types import Count, Epoch, Fraction, NonNegative, Positive, Pull, Shape, Spec, Step, Whole

OTHER = 1.5  # how often the authors' ρ, or what part of it, counts as another operating point


class Cem(Defense):
    """Maximise a lower bound on H(x|z): pull z towards the centroids of its class, until the spread that carries no
    label is lost in the noise of the chain.

    `mode`: "released", what the authors' code computes, with its class statistics indexed as intended;
    "released_compat", with its indexing; "paper", the mixture of equations 5 to 7. Statistics come from z at this
    defence's place in the chain, refitted at every epoch's end, so the first epoch trains without the penalty. The
    noise scale is that of the whole chain. Raises UserError where the chain adds no noise of fixed size.

    How hard the penalty pulls depends on the size of the data: a batch makes the share ρ = boost · batch / N of a
    cluster's variance new, .0256 in the authors' run, and its gradient is scaled by ρ. `boost` authors keeps that ρ at
    any size. N counts the images of whole batches, 49,920 of CIFAR-10; the authors fill the last one up to 50,048.

    Source: Xia et al., Theoretical Insights in Model Inversion Robustness and Conditional Entropy Maximization for
    Collaborative Inference Systems, CVPR 2025 (arXiv 2503.00383), and their code.
    """

    statistics: ClusterLoss | MixtureLoss

    @staticmethod
    def strength(node: Mapping[str, Any]) -> Mapping[str, str]:
        """The paper's loss is a sum over the values of z, and pulls harder."""
        return {"weight": f"tag(log, interval({0.01 if node['mode'] == 'paper' else 0.5}, 128.0))"}

    waits: int = 1  # there are no statistics before the first epoch's end

    def __init__(
        self,
        *,
        mode: Literal["released", "released_compat", "paper"],
        weight: NonNegative,
        rate_threshold: Positive | None,
        rate_reference: Positive,
        clusters: Count,
        iterations: Count,
        samples: Count | None,
        log_entropy: bool,
        floor: Positive,
        threshold: NonNegative,
        boost: NonNegative | Literal["authors"],
        cap: Fraction,
        offset: NonNegative,
        covariance: Covariance,
        em_iterations: Whole,
        jitter: Positive,
    ) -> None:
        super().__init__()
        self.mode, self.weight, self.clusters, self.iterations, self.samples = (
            mode,
            weight,
            clusters,
            iterations,
            samples,
        )
        self.rate_threshold, self.rate_reference = rate_threshold, rate_reference
        self._released = {"compat": mode == "released_compat", "log_entropy": log_entropy, "floor": floor,
                          "threshold": threshold, "boost": None if boost == "authors" else boost, "cap": cap,
                          "offset": offset}  # fmt: skip
        self._paper = {"covariance": covariance, "iterations": em_iterations, "jitter": jitter}

    def validate(self, chain: Mapping[str, Defense]) -> None:
        require_noise(chain, "cem", "CEM", "defense.cem")

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        self._model = (model,)  # in a tuple: it is no part of this module
        size = spec.classes, self.clusters, torch.Size(shape).numel()
        if self.mode == "paper":
            self.statistics = MixtureLoss(*size, **self._paper)  # type: ignore[arg-type]
        else:
            self.statistics = ClusterLoss(*size, **self._released)  # type: ignore[arg-type]

    @property
    def sigma(self) -> float:
        """Standard deviation of all noise in the release, that of defences listed later included."""
        return self._model[0].noise_std

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        scale = self._weight(step.lr)
        with torch.autocast(z.device.type, enabled=False):
            return scale * self.statistics(z.flatten(1).to(self.statistics.centres.dtype), step.y, self.sigma)

    def pull(self, batch: int, rates: Sequence[float]) -> Pull:
        images = float(self.statistics.images)
        if not images:
            return Pull()
        boost = 1.0 if self.mode == "paper" else self._released["boost"]
        rho = SHARE if boost is None else boost * batch / images
        weights = [self._weight(rate) for rate in rates[1:]]  # in the first epoch there are no statistics
        said = {"rho": rho}
        if weights:
            said |= {"lambda": sum(weights) / len(weights), "lambda_last": weights[-1]}
        if self.mode == "paper" or SHARE / OTHER <= rho <= SHARE * OTHER:
            return Pull(said)
        return Pull(said, {"what": f"ρ = {rho:.3g}, theirs {SHARE:.3g}", "remedy": "boost=authors"})

    def _weight(self, rate: float) -> float:
        slow = self.rate_threshold is None or rate < self.rate_threshold
        return self.weight * (1.0 if slow else self.rate_reference / rate)

    def on_step_end(self, z: Tensor, step: Step) -> None:
        self.statistics.commit()

    @torch.no_grad()
    def on_epoch_end(self, epoch: Epoch) -> None:
        old = self.statistics
        table = by_class(epoch.features(), len(old.centres), self.samples)
        with torch.autocast(table.points.device.type, enabled=False):
            fresh = seed_centres(table.points, table.mask, self.clusters)
            known = old.weight.sum(1)[:, None, None] > 0
            start = torch.where(known, old.centres.to(fresh.dtype), fresh)
            old.refit(table, lloyd(table.points, table.mask, start, self.iterations))
