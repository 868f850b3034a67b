"""Actors, not flags: what the adversary holds (`Access`), and what an attack is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.data.base import Split
from splitpriv.types import Shape, Spec

Right = Literal["query", "edge", "expected", "clean", "cloud", "layers", "mask", "aux", "gap", "present"]
LAW = ("gap", "present")  # of these a chain may say nothing
Observed = Literal["release", "logits", "softmax", "topk", "label"]
Recovered = Literal["image", "attribute", "identity"]


Share = Callable[[Mapping[str, Any], Callable[[Path], None]], Path]


class Aux:
    """The adversary's own data, with releases of it; the noise-free part of a release is computed once and shared."""

    def __init__(self, split: Split, features: Callable[[Tensor], Tensor], obfuscate: Callable[[Tensor], Tensor],
                 cacheable: bool, limit: int = 2**31) -> None:  # fmt: skip
        self.split, self._features, self._obfuscate = split, features, obfuscate
        self._cacheable, self._limit = cacheable, limit
        self._cache: Tensor | None = None

    def __len__(self) -> int:
        return len(self.split)

    def take(self, index: Tensor) -> Aux:
        """Only the images at `index` (n,)."""
        return Aux(self.split.take(index), self._features, self._obfuscate, self._cacheable, self._limit)

    @torch.no_grad()
    def release(self, index: Tensor, draws: int = 1) -> Tensor:
        """Mean of `draws` fresh releases of the images at `index` (n,); the same law as `Access.query` of them."""
        if self._cacheable and self._cache is None:
            self._fill()
        if self._cache is not None:
            z = self._cache[index]
            return mean_of(lambda: self._obfuscate(z), draws)
        x = self.split.x(index)
        return mean_of(lambda: self._obfuscate(self._features(x)), draws)

    def _fill(self) -> None:
        parts = [self._features(self.split.x(slice(0, 256)))]
        if parts[0][0].numel() * 4 * len(self) > self._limit:
            self._cacheable = False
            return
        parts += [self._features(self.split.x(slice(i, i + 256))) for i in range(256, len(self), 256)]
        self._cache = torch.cat(parts)


class Access:
    """What the adversary holds. Touching a right that the attack does not declare raises PermissionError.

    Where the attack observes outputs, "release" below reads "what the server answers to it", `shape` (classes,).

    Always there: `spec`, `shape` (of one release), `device`, `autocast`, `intercept`. By right:
    `query(x)`  release of the adversary's own images, (N, C, H, W) -> (N, *shape), fresh randomness, no gradient;
    `edge(x)`   the same, differentiable (white box);
    `expected(x)` the same with the chain's randomness at its mean, as its mechanisms declare it;
    `clean(x)`  the edge's z without the chain, differentiable;
    `cloud(r)`  logits that the server computes from a release;
    `layers(r)` what the server's stages before the head make of it, one after the other;
    `gap(x, r)` what of releases r x does not explain, by the law of the mechanism, differentiable in x; None where that
                says no more than `expected`;
    `present(r)` True where a release says anything, by the same law;
    `mask`      (*shape), 1 where an entry of the release varies and 0 where the chain made it a constant;
    `aux`       the adversary's own labelled data (`Aux`), never a victim.
    Where releases were `recorded`, `query` knows the images of `aux` alone, as they are, and each has one release.
    """

    def __init__(self, requires: frozenset[Right], *, spec: Spec, shape: Shape, device: torch.device,
                 intercept: Callable[[int], Tensor], rights: dict[Right, Any],
                 autocast: Callable[[], Any], shared: Share | None = None, recorded: bool = False) -> None:  # fmt: skip
        self.requires, self._rights, self.recorded = requires, rights, recorded
        self.spec, self.shape, self.device, self.autocast = spec, shape, device, autocast
        self.intercept, self._shared = intercept, shared

    def only(self, index: Tensor) -> Access:
        """The same for whoever has but the images of aux at `index` (n,)."""
        return Access(
            self.requires, spec=self.spec, shape=self.shape, device=self.device, intercept=self.intercept,
            rights={**self._rights, "aux": self.aux.take(index)}, autocast=self.autocast, shared=self._shared,
            recorded=self.recorded,
        )  # fmt: skip

    def share(self, what: Mapping[str, Any], build: Callable[[Path], None], home: Path) -> Path:
        """The folder that `build` fills, once for all chains: what it writes follows from aux's images and the settings
        `what` alone. Without a store it lies in `home`."""
        if self._shared is not None:
            return self._shared(what, build)
        folder = home / "shared"
        folder.mkdir(parents=True, exist_ok=True)
        build(folder)
        return folder

    def __getattr__(self, right: str) -> Any:
        rights = self.__dict__.get("_rights", {})
        if right in LAW and right in self.requires:
            return rights.get(right)
        if right not in rights:
            raise AttributeError(right)
        if right not in self.requires:
            raise PermissionError(f"the attack uses access.{right} but declares requires={sorted(self.requires)}")
        return rights[right]


class Reconstructor(nn.Module):
    """Release (N, *shape) -> what the attack recovers. `report` holds what the row says about its making.

    An image is (N, C, H, W) in [0, 1]; an attribute, logits (N, values); an identity, an embedding (N, E) whose cosine
    tells identities apart. There `enrol`, if given, embeds clean images (N, C, H, W) as the gallery; without it victims
    are sought among each other's releases.
    """

    report: dict[str, Any]
    enrol: Callable[[Tensor], Tensor] | None = None

    def everything(self, releases: Tensor) -> dict[str, Tensor]:
        """What it recovers from `releases`, under ""; a suite adds what each of its members recovers, by name."""
        return {"": self(releases)}

    def tidy(self) -> None:
        """Remove files that only an attack which was cut short would need; called once all is written."""


class Attack:
    """Never sees a victim's image, and never asks which defence is on.

    `draws`: releases of each victim that are averaged (a repeated-query attacker); its own training uses as many.
    `eot`: releases over which each of its gradients is averaged.
    `observe`: what it gets to see, the release or what the server answers to it (`top` entries of a softmax for topk).
    `attribute`: where it recovers or needs one, its name; "y" is the task's label.
    `typical`: its images show what the network learned of a class, and no victim: pixels do not tell how good it is.
    `suite`: of a suite of attacks, its frozen name and, unless it ran whole, its tier.
    """

    version: ClassVar[int] = 1
    added: ClassVar[Mapping[str, Any]] = {}  # as `Defense.added`
    rounds: ClassVar[int] = 0  # how many times it can try `harder`
    requires: frozenset[Right] = frozenset()
    colludes: ClassVar[bool] = False  # whether it holds all releases of z, where a chain divides it
    recovers: ClassVar[Recovered] = "image"
    observe: Observed = "release"
    top: int = 1
    attribute: str = "y"
    attribute_key: ClassVar[str] = "attribute"  # the setting that says it
    draws: int = 1
    learns: Sequence[Mapping[str, Any]] = ()  # settings of each prior that it learns from aux's images alone
    eot: int = 1
    typical: ClassVar[bool] = False
    suite: str | None = None

    @property
    def adapts(self) -> frozenset[str]:
        """To which kinds of defence it adapts: draws (it averages repeated releases), answers (repeated answers to
        them), mask (it knows what is kept), collusion (it holds all of what was divided), network (it sees answers),
        attribute (it asks for a private one)."""
        seen = {"network"} if self.observe != "release" else set()
        if self.draws > 1:
            seen |= {"draws", "answers"} if seen else {"draws"}
        return frozenset(seen)

    @property
    def least_aux(self) -> int:
        """Images of aux that it needs: one to learn from, where it or a prior of its holds out others one more, and as
        many as an attack that it holds (`base`)."""
        holds_out = bool(self.learns) or getattr(getattr(self, "stop", None), "held", 0) > 0
        return max(1 + holds_out, getattr(getattr(self, "base", None), "least_aux", 1))

    def validate(self, shape: Shape, stages: int) -> None:
        """Raise UserError where it cannot attack releases of `shape`, without the batch, or wants more stages than the
        `stages` that the cloud has before its head; called before anything is trained."""

    def harder(self, turn: int) -> Sequence[Attack]:
        """The same with more effort, in several ways; `turn` counts from 1 to `rounds`."""
        return ()

    def fit(self, access: Access, home: Path) -> Reconstructor:
        """Prepare the attack; `home` is a folder where an interrupted fit finds its last epoch again."""
        raise NotImplementedError


def answer(logits: Tensor, observe: Observed, top: int) -> Tensor:
    """What the server shows of `logits` (N, classes): all, their softmax, its `top` largest entries, or the label."""
    if observe in ("release", "logits"):
        return logits
    if observe == "label":
        return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
    shown = logits.softmax(1)
    if observe == "topk":
        values, places = shown.topk(min(top, shown.shape[1]), 1)
        shown = torch.zeros_like(shown).scatter(1, places, values)
    return shown


def mean_of(draw: Callable[[], Tensor], draws: int, present: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Mean of `draws` independent calls, without holding them all; of each entry over those where it is `present`, and
    0 where it never was."""
    if present is None:
        total = draw()
        for _ in range(draws - 1):
            total = total + draw()
        return total / draws if draws > 1 else total
    total, count = torch.zeros(()), torch.zeros(())
    for _ in range(draws):
        more = draw()
        there = present(more)
        total, count = total.to(more) + more.where(there, 0.0), count.to(more) + there
    return total / count.clamp_min(1)


def even(index: Tensor, batch: int) -> tuple[Tensor, ...]:
    """Split `index` into pieces of at most `batch`, equal within one: nothing dropped, no batch of one image."""
    return index.tensor_split(max(1, math.ceil(len(index) / batch)))


def flat(curve: list[float], tolerance: float) -> bool:
    """Whether the last quarter of `curve` brought its minimum down by at most `tolerance` (relative)."""
    before = curve[: len(curve) - max(1, len(curve) // 4)]
    return bool(before) and min(before) - min(curve) <= tolerance * min(before)
