"""Re-identification: find the same identity on other cameras, PATROL's task."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from splitpriv import host
from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended
from splitpriv.nets.modes import evaluating
from splitpriv.nets.reid import BNNeck
from splitpriv.stats.classification import balanced_accuracy, blind
from splitpriv.stats.ranking import chance, ranking
from splitpriv.stats.triplets import batch_hard, identity_batches
from splitpriv.tasks.base import Task
from splitpriv.types import Count, NonNegative, Positive, Rate, Spec, Step, UserError


class ReID(Task):
    """Cross-entropy over identities, smoothed, plus the batch-hard triplet loss, around a BNNeck (Luo et al. 2019).

    The triplet loss acts on the features before the neck, with `margin` (None: soft margin); cross-entropy, and the
    cosine by which identities are told apart, on those after it. A batch holds `instances` images of each identity.
    Judged on identities that training never saw: each query among the victims is sought in their gallery.
    """

    headline = "map"

    def __init__(self, *, smoothing: Rate, triplet: NonNegative, margin: Positive | None, instances: Count) -> None:
        if triplet > 0 and instances < 2:
            raise UserError(
                ".instances: 1 leaves the triplet loss no pair of one identity; use 2 or more, or triplet=0"
            )
        self.smoothing, self.triplet, self.margin, self.instances = smoothing, triplet, margin, instances

    def validate(self, model: Defended, spec: Spec) -> None:
        lacking = [name for name in ("identity", "camera", "gallery") if name not in spec.attributes]
        problems = [f"dataset: has no {', '.join(lacking)}; task=reid needs dataset=identities, veri or market1501"]
        problems = problems if lacking else []
        if not isinstance(model.net.cloud[-1], BNNeck):
            problems.append("backbone: task=reid needs a BNNeck; use backbone=tiny_reid or resnet18_reid")
        if problems:
            raise UserError(*problems)

    def require(self, splits: Mapping[str, Split]) -> None:
        if not self.tested(splits):
            raise UserError(
                "protocol.limit.victims: no query has its identity in the gallery on another camera; take more victims"
            )

    def others(self, batch: int, spec: Spec) -> float:
        return self.instances - 1

    def batches(self, train: Split, batch: int) -> Tensor:
        try:
            return identity_batches(train.y, batch, self.instances)
        except UserError as error:
            raise UserError(*(f"task{problem}" for problem in error.problems)) from error

    def terms(self, model: Defended, released: Tensor, step: Step) -> tuple[dict[str, Tensor], Tensor]:
        features = self._features(model, released)
        with model.autocast():
            logits = model.net.cloud[-1](features).float()
        terms = {"task": F.cross_entropy(logits, step.y, label_smoothing=self.smoothing)}
        if self.triplet:
            terms["triplet"] = self.triplet * batch_hard(features, features, step.y, self.margin)
        return terms, logits.detach().argmax(1) == step.y

    def _features(self, model: Defended, released: Tensor) -> Tensor:
        """What the cloud computes before the neck, (N, E)."""
        with model.autocast():
            features: Tensor = model.net.cloud[:-1](released)
        return features.float()

    @torch.no_grad()
    def utility(self, model: Defended, splits: Mapping[str, Split], *, draws: int, batch: int) -> dict[str, float]:
        """mAP, rank-1 and rank-5 in [0, 1] over the victims' queries, and the accuracies on val's identities.

        Each of `draws` releases is embedded and ranked by itself. Raises UserError where no query has a match.
        """
        self.require(splits)
        victims, val = splits["victims"], splits["val"]
        sums: list[Tensor] = []
        guesses = []
        with evaluating(model):
            for _ in range(draws):
                scores = self._rank(self._embed(model, victims, batch), victims)
                valid = scores.pop("valid")
                sums.append(torch.stack([valid.sum(), *(values[valid].sum() for values in scores.values())]))
                guesses += [model(val.x(part)).argmax(1) for part in _parts(val, batch)]
        queries, *totals = host.to_host(torch.stack(sums).double().sum(0))
        means = {name: total / queries for name, total in zip(("map", "rank1", "rank5"), totals, strict=True)}
        guess, truth = torch.cat(guesses).cpu(), val.y.cpu().repeat(draws)
        right = float((guess == truth).double().mean())
        return {**means, "accuracy": right, "balanced_accuracy": balanced_accuracy(guess, truth, int(val.y.max()) + 1)}

    def chance(self, splits: Mapping[str, Split]) -> dict[str, float]:
        """What an order that says nothing gives, and the accuracies of always answering val's commonest identity."""
        who, camera = _sides(splits["victims"])
        scores = chance(*who, *camera, same=False)
        valid = scores.pop("valid")
        means = {"map" if k == "ap" else k: float(values[valid].double().mean()) for k, values in scores.items()}
        return {**means, **blind(splits["val"].y)}

    def tested(self, splits: Mapping[str, Split]) -> int:
        """How many queries have a match."""
        who, camera = _sides(splits["victims"])
        return int(chance(*who, *camera, same=False)["valid"].sum())

    def _embed(self, model: Defended, split: Split, batch: int) -> Tensor:
        head: BNNeck = model.net.cloud[-1]  # type: ignore[assignment]
        parts = (self._features(model, model.release(split.x(part))) for part in _parts(split, batch))
        return torch.cat([head.embed(features) for features in parts])

    def _rank(self, embedded: Tensor, victims: Split) -> dict[str, Tensor]:
        gallery = victims.attributes["gallery"] == 1
        who, camera = _sides(victims)
        return ranking(embedded[~gallery], embedded[gallery], *who, *camera, same=False)


def _sides(victims: Split) -> list[tuple[Tensor, Tensor]]:
    """Identity and camera, each of the queries and of the gallery."""
    gallery = victims.attributes["gallery"] == 1
    return [(t[~gallery], t[gallery]) for t in (victims.attributes["identity"], victims.attributes["camera"])]


def _parts(split: Split, batch: int) -> list[slice]:
    return [slice(i, i + batch) for i in range(0, len(split), batch)]
