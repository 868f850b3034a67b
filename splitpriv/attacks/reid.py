"""Re-identification from releases: is this the same person, the same car, seen again?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv import host
from splitpriv.attacks.base import Access, Attack, Recovered, Right
from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.training import Learned, Select, Standardise, Stop, Training, cosine, inner_home
from splitpriv.nets.layers import named
from splitpriv.nets.reid import BNNeck
from splitpriv.stats.ranking import ranking
from splitpriv.stats.triplets import batch_hard, identity_batches
from splitpriv.store import state
from splitpriv.types import Count, Fraction, NonNegative, Positive, Rate, UserError, blame

Look = Callable[[Tensor], tuple[str, Tensor]]  # from a release to the net that embeds it, and what that net sees


class Matcher(Learned):
    """Release (N, *shape) -> embedding (N, E); `enrol` embeds clean images where they are the gallery."""

    def __init__(self, net: nn.ModuleDict, look: Look, images: bool, report: dict[str, Any]) -> None:
        super().__init__(net, report)
        self.look = look
        if images:
            self.enrol = lambda x: embed(net, "image", x)

    def forward(self, releases: Tensor) -> Tensor:
        return embed(self.net, *self.look(releases))


def embed(net: Any, view: str, seen: Tensor) -> Tensor:
    """Embeddings (N, E) of releases or images, by `view`, after the neck that both share."""
    return net["neck"].embed(net[view](seen).float())


def leading(ids: Tensor, share: float) -> int:
    """How many of `ids` (N,), in which equal ones lie together, are of the first `share` of the identities.

    At least one identity counts, unless `share` is 0.
    """
    if not share:
        return 0
    rank = F.pad((ids[1:] != ids[:-1]).long().cumsum(0), (1, 0))
    wanted = (share * (rank[-1] + 1)).round().clamp_min(1)
    return int(host.to_host((rank < wanted).sum())[0])


class ReID(Attack):
    """Whose release is it? A metric learned on aux, whose identities are others than the victims' (open set).

    Without `decoder` a net embeds releases, and victims are sought among each other's releases (linkability), or, with
    `gallery: images`, among clean images, which a second net learns to embed into the same space (cross-embedding).
    With `decoder` that attack reconstructs images first, and a net that has learned on clean aux alone embeds those.
    Learns by cross-entropy over aux's identities (weight `ce`, smoothed) and the batch-hard triplet loss (weight
    `triplet`, hinge with `margin`, None: soft margin) around a BNNeck, on batches with `instances` images of each
    identity; of two kinds of embeddings the triplets reach from one to the other. The share `held` of the identities is
    kept for early stopping and for `select: best`, both by mAP. Raises UserError for data without identities.
    """

    version = 2
    recovers: ClassVar[Recovered] = "identity"

    def __init__(self, *, embedder: Callable[..., nn.Module], features: Count, gallery: Literal["releases", "images"],
                 decoder: Callable[[], Decoder] | None, epochs: Count, batch: Count, instances: Count, lr: Positive,
                 min_lr: NonNegative, weight_decay: NonNegative, ce: NonNegative, smoothing: Rate, triplet: NonNegative,
                 margin: Positive | None, held: Rate, patience: Count | None, select: Select, tolerance: Fraction,
                 draws: Count) -> None:  # fmt: skip
        if not ce and not triplet:
            raise UserError(".triplet: 0 beside ce=0 leaves nothing to learn from; raise one of them")
        if batch < 2 * instances:
            raise UserError(f".batch: {batch} images hold fewer than two identities of instances={instances}, so no "
                            f"negatives; give at least {2 * instances}, or lower instances")  # fmt: skip
        with blame(".decoder"):
            self.decoder = decoder() if decoder else None
        if self.decoder and self.decoder.draws != draws:
            raise UserError(f".decoder.draws: is {self.decoder.draws}, but the attack averages {draws}; set both alike")
        self.images = gallery == "images"
        self.views = ("image",) if decoder else ("release", "image") if self.images else ("release",)
        self.embedder, self.features, self.instances, self.draws = embedder, features, instances, draws
        self.epochs, self.batch, self.lr, self.min_lr, self.weight_decay = epochs, batch, lr, min_lr, weight_decay
        self.ce, self.smoothing, self.triplet, self.margin = ce, smoothing, triplet, margin
        self.stop = Stop(held, patience, select, tolerance)
        if self.decoder:
            self.observe, self.top = self.decoder.observe, self.decoder.top

    @property
    def requires(self) -> frozenset[Right]:  # type: ignore[override]
        return self.decoder.requires if self.decoder else frozenset({"query", "aux"})

    @property
    def least_aux(self) -> int:  # a batch, and an identity to hold out
        return max(2 * self.instances + bool(self.stop.held), self.decoder.least_aux if self.decoder else 1)

    @property
    def adapts(self) -> frozenset[str]:
        return self.decoder.adapts if self.decoder else super().adapts

    def fit(self, access: Access, home: Path) -> Matcher:
        if "identity" not in access.spec.attributes:
            raise UserError(": the data set has no identities; use dataset=identities, veri or market1501")
        look: Look = lambda releases: ("release", releases)  # noqa: E731
        if self.decoder:
            with blame(".decoder"):
                inverse = self.decoder.fit(access, inner_home(home, "decoder"))
            look = lambda releases: ("image", inverse(releases))  # noqa: E731
        ids, kinds = access.aux.split.attributes["identity"], access.spec.attributes["identity"]
        state.seed_epoch(home.name, 0)
        order = torch.randperm(kinds).to(ids.device)[ids].argsort(stable=True)  # identity by identity
        apart = leading(ids[order], self.stop.held)
        with access.device:
            net, best = self._nets(access, kinds), self._nets(access, kinds)
        for view in self.views:
            parts = (self._seen(access, part)[view] for part in order.split(self.batch))
            net[view].scale.measure(parts)  # type: ignore[operator, union-attr]
        optimizer = torch.optim.Adam(net.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=True)

        def epoch(index: int) -> dict[str, Tensor]:
            cosine(optimizer, self.lr, self.min_lr, index / self.epochs)
            net.train()
            losses = []
            for rows in identity_batches(ids[order[apart:]], self.batch, self.instances):
                part = order[apart:][rows]
                losses.append(self._loss(net, self._seen(access, part), ids[part], access))
                optimizer.zero_grad(set_to_none=True)
                losses[-1].backward()
                optimizer.step()
            train = torch.stack(losses).detach().mean()
            return {"train": train} | ({"held": 1 - self._map(net, look, access, order[:apart])} if apart else {})

        training = Training("reid", home / "last.pt", home.name, self.epochs, self.stop)
        curve = training.run(net, best, {"optimizer": optimizer}, epoch)
        state.save_tensors(home / "embedder.safetensors", best.state_dict())
        return Matcher(
            best, look, self.images, {**curve, "epochs": len(curve["train"]), "converged": training.settled(curve)}
        )

    def _nets(self, access: Access, identities: int) -> nn.ModuleDict:
        shapes = {"release": access.shape, "image": access.spec.image}
        nets = {
            view: named(
                scale=Standardise(shapes[view]), net=self.embedder(shapes[view], access.spec.image, self.features)
            )
            for view in self.views
        }
        return nn.ModuleDict({**nets, "neck": BNNeck(self.features, identities)})

    def _seen(self, access: Access, part: Tensor) -> dict[str, Tensor]:
        """What the nets learn from: fresh releases of aux at `part` (n,), its images, or both."""
        seen = {"release": access.aux.release(part, self.draws)} if "release" in self.views else {}
        return seen | ({"image": access.aux.split.x(part)} if "image" in self.views else {})

    def _loss(self, net: nn.ModuleDict, seen: dict[str, Tensor], ids: Tensor, access: Access) -> Tensor:
        with access.autocast():
            features = [net[view](s) for view, s in seen.items()]
            logits = net["neck"](torch.cat(features)).float()
        ce = F.cross_entropy(logits, ids.repeat(len(features)), label_smoothing=self.smoothing)
        pairs = zip(features, features[::-1], strict=True)  # of two views, each against the other
        hard = torch.stack([batch_hard(a, b, ids, self.margin) for a, b in pairs]).mean()
        return self.ce * ce + self.triplet * hard

    @torch.no_grad()
    def _map(self, net: nn.ModuleDict, look: Look, access: Access, index: Tensor) -> Tensor:  # fmt: skip
        """mAP of the attack on the images of aux at `index` (n,); leaves `net` in evaluation mode."""
        net.eval()
        aux, parts = access.aux, index.split(self.batch)
        queries = torch.cat([embed(net, *look(aux.release(part, self.draws))) for part in parts])
        gallery = torch.cat([embed(net, "image", aux.split.x(part)) for part in parts]) if self.images else queries
        ids, camera = aux.split.attributes["identity"][index], aux.split.attributes.get("camera")
        camera = camera[index] if camera is not None else None
        scores = ranking(queries, gallery, ids, ids, camera, camera, same=True)
        return scores["ap"].sum() / scores["valid"].sum().clamp_min(1)
