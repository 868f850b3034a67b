"""Whether a rebuilt picture still says who or what it was: a classifier learned on the adversary's images judges it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv import host
from splitpriv.attacks.training import Stop, Training, average, cosine, learn, losses
from splitpriv.data.base import Split
from splitpriv.measure import traits
from splitpriv.nets import probes
from splitpriv.nets.layers import named
from splitpriv.stats.classification import majority
from splitpriv.store import state
from splitpriv.types import Count, Positive, Shape, Spec, UserError

WEIGHTS = "judge.safetensors"
STOP = Stop(0.1, None, "best", 0.02)
CHUNK = 256
Share = Callable[[dict[str, Any], Callable[[Path], None]], Path]


class Judge:
    """The settings of an evaluation classifier, as GMI (Zhang et al. 2020) and MID (Wang et al. 2021) judge attacks by.

    A small convolutional network learns `attribute` ("y": the task's label) from aux's images and labels, and keeps the
    epoch of the lowest loss on a tenth of them; it never sees a victim. Its last `features` values are what distances
    are taken of. It is learned once for a data set, and serves all chains and attacks. Their evaluators are large and
    learned on the identities under attack; this one has what aux can teach, and `judge/told` says how good it is.
    """

    def __init__(self, *, attribute: str, width: Count, features: Count, epochs: Count, batch: Count,
                 lr: Positive) -> None:  # fmt: skip
        self.attribute, self.width, self.features = attribute, width, features
        self.epochs, self.batch, self.lr = epochs, batch, lr
        self.what = {"judge": attribute, "width": width, "features": features, "epochs": epochs, "batch": batch,
                     "lr": lr}  # fmt: skip

    def validate(self, spec: Spec, labelled: bool) -> None:
        """Raise UserError where the data set lacks the attribute, or the adversary's labels mean nothing."""
        if self.attribute not in ("y", *spec.attributes):
            names = ", ".join(["y", *spec.attributes])
            raise UserError(f".attribute: the data set has no {self.attribute!r}; choose one of {names}")
        if not labelled:
            raise UserError(
                ".attribute: is learned from labels of the adversary's images, which mean nothing here; set "
                "measure.judge=null, or choose another knowledge"
            )

    def labels(self, split: Split) -> Tensor:
        """What it is asked for, (N,)."""
        return split.y if self.attribute == "y" else split.attributes[self.attribute]

    def is_open(self, aux: Split, victims: Split) -> bool:
        """Whether aux knows none of the victims' values, as of identities: these are sought, not told."""
        return not bool(torch.isin(self.labels(victims), self.labels(aux)).any())

    def net(self, image: Shape, values: int) -> nn.Module:
        """The untrained classifier: `body` gives features, `head` logits."""
        body = nn.Sequential(probes.cnn(image, self.features, width=self.width, hidden=[]), nn.ReLU())
        return named(body=body, head=nn.Linear(self.features, values))

    def learned(self, aux: Split, spec: Spec, share: Share) -> nn.Module:
        """The trained classifier, frozen, in evaluation mode; `share` keeps it, trained at its first use."""
        with aux.y.device:
            net = self.net(spec.image, spec.classes if self.attribute == "y" else spec.attributes[self.attribute])
        folder = share(self.what, lambda home: self._train(net, aux, home))
        net.load_state_dict(state.load_tensors(folder / WEIGHTS))
        return net.eval().requires_grad_(False)

    def _train(self, best: nn.Module, aux: Split, home: Path) -> None:
        labels = self.labels(aux)
        state.seed_epoch(home.name, 0)
        with labels.device:
            net = self.net(aux.images.shape[1:], best[1].out_features)  # type: ignore[index]
        order = torch.randperm(len(aux), device=labels.device)
        held = max(1, round(STOP.held * len(order)))
        optimizer = torch.optim.Adam(net.parameters(), self.lr, fused=True)

        def loss(part: Tensor) -> Tensor:
            return F.cross_entropy(net(aux.x(part)), labels[part])

        def epoch(index: int) -> dict[str, Tensor]:
            cosine(optimizer, self.lr, 0.01 * self.lr, index / self.epochs)
            train = learn(net, optimizer, order[held:], self.batch, loss)
            return losses(train, order[:held], lambda apart: average(net, apart, self.batch, loss))

        Training("judge", home / "last.pt", home.name, self.epochs, STOP).run(
            net, best, {"optimizer": optimizer}, epoch
        )
        state.save_tensors(home / WEIGHTS, best.state_dict())


class Bench:
    """A trained classifier `net` and the victims, whose reconstructions (N, C, H, W), in their order, it judges.

    Per victim: `told` (1 where it recognises the victim's own value of the attribute) and `feature_distance`, the
    squared distance of the reconstruction's features from the victim's over the mean one between two images of aux: 0
    for a copy, 1 for as far as strangers. Of all: `frechet@N`, the Fréchet distance between features of reconstructions
    and of victims, which falls as N grows. Where aux knows none of the victims' values, as of identities, `told` gives
    way to re-identification by features: the others of an identity, sought among the victims' own images.
    `train_distance`, of attacks on what the network learned, is that of the nearest training image of the same value.
    """

    def __init__(self, judge: Judge, net: nn.Module, aux: Split, victims: Split) -> None:
        self.judge, self.net, self.victims, self.truth = judge, net, victims, judge.labels(victims)
        known = judge.labels(aux)
        self.open = judge.is_open(aux, victims)
        self.blind = majority(self.truth.cpu(), known.cpu(), net[1].out_features)  # type: ignore[index]
        self.own = self._features(victims.x(slice(None)))
        parts = [self._features(aux.x(slice(i, i + CHUNK))) for i in range(0, len(aux), CHUNK)]
        self.strangers = 2 * torch.cat(parts).double().var(0).sum()

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        return torch.cat([self.net[0](part.float()) for part in images.to(self.truth.device).split(CHUNK)])  # type: ignore[index]

    @torch.no_grad()
    def scores(self, images: Tensor) -> dict[str, Tensor]:
        """What it says of each reconstruction, (N,) each."""
        features = self._features(images)
        apart = (features - self.own).double().square().sum(1) / self.strangers.clamp_min(1e-12)
        told = {} if self.open else {"told": (self.net[1](features).argmax(1) == self.truth).float()}  # type: ignore[index]
        return {**told, "feature_distance": apart.float()}

    @torch.no_grad()
    def means(self, images: Tensor, train: Split | None = None) -> dict[str, float]:
        """What it says of all reconstructions together; `train` are the images that are to be found in them."""
        features, many = self._features(images), len(images) > 1
        apart = {f"frechet@{len(images)}": frechet(features, self.own)} if many else {}
        if train is not None:
            parts = [self._features(train.x(slice(i, i + CHUNK))) for i in range(0, len(train), CHUNK)]
            far = torch.cdist(features.double(), torch.cat(parts).double()).square() / self.strangers.clamp_min(1e-12)
            far = far.masked_fill(self.truth[:, None] != self.judge.labels(train), torch.inf).amin(1)
            near = far[far.isfinite()]
            apart |= {"train_distance": host.to_host(near.mean()[None])[0]} if len(near) else {}
        return apart | (traits.identity(features, self.own, self.victims)[1] if self.open else {})

    @property
    def facts(self) -> dict[str, float]:
        """How good it is on the victims' own images, and what the majority of aux's values would be right about."""
        own = self.victims.x(slice(None))
        if self.open:
            return traits.identity(self.own, self.own, self.victims)[1]
        return {"told": host.to_host(self.scores(own)["told"].double().mean()[None])[0], "majority": self.blind}


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance between Gaussians fitted to features a (N, D) and b (M, D), N and M at least 2: what FID is of
    Inception's (Heusel et al. 2017). Biased upwards, the more so the smaller N is against D."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    same = nn.Identity()
    same.num_features = a.shape[1]  # type: ignore[assignment]
    distance = FrechetInceptionDistance(feature=same).to(a.device)
    distance.update(a, real=False)
    distance.update(b, real=True)
    return max(0.0, float(distance.compute()))
