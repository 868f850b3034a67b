"""The statistics of a release that no attack is needed for: information, fairness, and bounds on the error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from splitpriv.data.base import Split
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.law import input_is_fixed
from splitpriv.nets.modes import evaluating
from splitpriv.stats import fairness, fisher, information
from splitpriv.types import Count, Spec, UserError

CHUNK = 256
ROUNDING = 1 / (12 * 255**2)  # variance of the rounding to 8 bits, in images in [0, 1]


class Audit:
    """What `measure=audit` adds to a row; null or false leaves a part out.

    `samples`: how many victims information and bounds are estimated from, and how many training images the critic and
    the prior. `knn`: Cloak's estimate from `k` neighbours. `gaussian`: the Gaussian upper bound, fitted on one half and
    taken on the other. `infonce`: the learned lower bound. `fairness`: an attribute between whose values the classifier
    is compared, over all victims. `fisher`: dFIL from `probes` random signs. Raises UserError (`validate`) for an
    attribute that the data set lacks.
    """

    key_name: ClassVar[str] = "splitpriv.audit.Audit"

    version = 2

    def __init__(self, *, samples: Count, knn: bool, k: Count, gaussian: bool,
                 infonce: Callable[[], information.InfoNCE] | None, fairness: str | None, fisher: bool,
                 probes: Count) -> None:  # fmt: skip
        if samples < 2 * k + 2:
            raise UserError(f".samples: {samples} are too few for {k} neighbours; give at least {2 * k + 2}")
        self.samples, self.knn, self.k, self.gaussian = samples, knn, k, gaussian
        self.infonce = infonce() if infonce else None
        self.fairness, self.fisher, self.probes = fairness, fisher, probes

    def validate(self, spec: Spec) -> None:
        """Raise UserError if the data set of `spec` lacks the attribute; before any data is read."""
        if self.fairness is not None and self.fairness not in spec.attributes:
            names = ", ".join(spec.attributes) or "none at all"
            raise UserError(f".fairness: the data set has no attribute {self.fairness!r} (there are: {names}); "
                            "choose one of them, or null")  # fmt: skip

    def require(self, victims: int) -> None:
        """Raise UserError where there are too few victims; before anything is trained."""
        if self.knn and victims < 2 * self.k + 2:
            raise UserError(f".k: {victims} victims are too few for {self.k} neighbours; give at least "
                            f"{2 * self.k + 2} (protocol.limit.victims), or set knn to false")  # fmt: skip

    @torch.no_grad()
    def facts(self, model: Defended, splits: Mapping[str, Split], spec: Spec) -> dict[str, float]:
        """Numbers by name, `information/...` (nats; loss in percent), `fairness/...`, `bound/...` ([0, 1] squared).

        Every release is drawn as the device sends it. What the chain does not allow is left out: the Gaussian values
        need its first act to be adding Gaussian noise. `bound/van_trees_mse` holds for every attack on one release; as
        `van_trees_gaussian_prior_mse` only if images were Gaussian. `bound/dfil_mse_unbiased` binds no biased attack.
        """
        self.validate(spec)
        self.require(len(splits["victims"]))
        victims, train = splits["victims"], splits["train"]
        few = victims.take(slice(0, self.samples))
        with evaluating(model):
            facts = self._information(model, few, train.take(slice(0, self.samples)))
            if self.fairness is not None:
                facts |= self._fairness(model, victims, spec)
            if self.fisher:
                facts |= self._bounds(model, few, train, spec)
        return facts

    def _information(self, model: Defended, victims: Split, train: Split) -> dict[str, float]:
        facts: dict[str, float] = {"information/samples": float(len(victims))}
        x, released = pairs(model, victims)
        if self.knn:
            loss = information.mi_loss(x, released, k=self.k)
            facts |= {"information/knn_nats": loss.nats, "information/knn_own_nats": loss.own,
                      "information/knn_loss_percent": loss.percent}  # fmt: skip
        channel = first_noise(model)
        if self.gaussian and channel is not None:
            signal, std = channel
            signals = torch.cat([signal(part) for part in x.split(CHUNK)])
            nats, error = information.held_out_information(signals, std)
            facts |= {"information/gaussian_nats": nats, "information/gaussian_error_nats": error}
        if self.infonce is not None:
            facts["information/infonce_nats"] = self.infonce(pairs(model, train), (x, released))
            facts["information/infonce_cap_nats"] = self.infonce.cap(len(victims))
        return facts

    def _fairness(self, model: Defended, victims: Split, spec: Spec) -> dict[str, float]:
        name = str(self.fairness)
        guess = torch.cat([model(x).argmax(1) for x in images(victims)])
        group, sizes = victims.attributes[name], (spec.classes, spec.attributes[name])
        return {
            f"fairness/{name}/demographic_parity": fairness.demographic_parity(guess, group, *sizes),
            f"fairness/{name}/equalised_odds": fairness.equalised_odds(guess, victims.y, group, *sizes),
            f"fairness/{name}/equal_opportunity": fairness.equal_opportunity(guess, victims.y, group, *sizes),
        }

    def _bounds(self, model: Defended, victims: Split, train: Split, spec: Spec) -> dict[str, float]:
        channel = first_noise(model)
        if channel is None:
            return {}
        signal, std = channel
        generator, n = torch.Generator().manual_seed(0), torch.Size(spec.image).numel()
        each = [fisher.dfil(signal, x, std, probes=self.probes, generator=generator) for x in images(victims)]
        mean = float(torch.cat(each).mean())
        prior, name = spec.fisher, "bound/van_trees_mse"
        if prior is None:
            x = torch.cat(list(images(train.take(slice(0, self.samples)))))
            prior, name = fisher.gaussian_prior(x, ROUNDING), "bound/van_trees_gaussian_prior_mse"
        bounds = {"bound/dfil": mean, name: fisher.van_trees_mse(mean, prior, n)}
        return bounds | ({"bound/dfil_mse_unbiased": fisher.unbiased_mse(mean)} if mean > 0 else {})


def images(split: Split) -> Iterator[Tensor]:
    """All images (n, C, H, W) of a split, in [0, 1], a chunk at a time."""
    for start in range(0, len(split), CHUNK):
        yield split.x(slice(start, start + CHUNK))


def pairs(model: Defended, split: Split) -> tuple[Tensor, Tensor]:
    """All images of a split with one fresh release each."""
    both = [(x, model.release(x)) for x in images(split)]
    return torch.cat([x for x, _ in both]), torch.cat([r for _, r in both])


def first_noise(model: Defended) -> tuple[Callable[[Tensor], Tensor], Tensor | float] | None:
    """The noise-free signal of an image, in full precision, and the standard deviation of the Gaussian noise on it.

    None unless adding that noise is the first thing that the chain does: then all that follows, whatever it is, can
    only lose information. What comes before it could be a step function, which has no Fisher information to speak of.
    """
    if not input_is_fixed(model):
        return None
    variance: Tensor | float = 0.0
    for _, defense in model.defenses():
        if type(defense).after_edge is Defense.after_edge:
            continue
        std = defense.gaussian_std
        if std is None:
            break
        variance = variance + std**2
    noisy = bool((torch.as_tensor(variance) > 0).all())
    return (lambda x: model.net.edge(x).float(), variance**0.5) if noisy else None
