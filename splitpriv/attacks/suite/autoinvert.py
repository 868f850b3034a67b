"""AutoInvert: the suite of image attacks that needs no tuning and that no setting can weaken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from splitpriv import host
from splitpriv.attacks.base import Access, Attack, Reconstructor, Right
from splitpriv.attacks.suite import learnt, members, settled
from splitpriv.attacks.suite.blend import Blend
from splitpriv.attacks.suite.lab import LEAST, Found, Lab, Once, mse
from splitpriv.attacks.suite.plateau import GAIN, Length
from splitpriv.attacks.suite.search import Search, Unaided
from splitpriv.attacks.suite.standin import Standin
from splitpriv.store import state
from splitpriv.types import Count

PLAIN = ("standard", "white")  # what its name need not say; suites of unlike names are not compared
LEARNT = ("latent", "untrained", "pnp")
BATCH = 64  # victims between two saved states
TUNE = 16  # images of aux by which a search that learned nothing from them weighs its prior
MISLED = 0.5  # share of the victims whose releases the answer explains worse than any of aux: aux is unlike them


@dataclass(frozen=True)
class Tier:
    """What a member may spend at most: steps of trainings and searches, images of aux that weights are tried on."""

    rungs: tuple[str, ...]
    decoder: Length
    refine: Length
    tune: int
    search: int
    pool: int  # images of aux that the fusion learns from
    fuse: Length
    priors: bool = False  # whether it searches under learned priors
    version: int = 2  # another number whenever a member or its numbers change


TIERS: Mapping[str, Tier] = {
    "quick": Tier(("plain",), Length(128, 384), Length(64, 192), 32, 50, 0, Length(0, 0)),
    "standard": Tier(("wide", "unet"), Length(512, 4096), Length(192, 2048), 64, 200, 1280, Length(192, 1024)),
    "plus": Tier(("wide", "unet"), Length(512, 65536), Length(192, 8192), 64, 800, 5120, Length(192, 4096),
                 priors=True, version=3),
}  # fmt: skip
SUITE = f"autoinvert-{TIERS['standard'].version}"


class AutoInvert(Attack):
    """A fixed set of members, each brought to its plateau on the adversary's own data, and the best of their answers.

    A decoder ladder; a refinement that sees the gradient of the distance between the expected release and the one
    received; a search; a fusion, and a search from it; the mean image, and images of aux weighed by their releases; the
    sum of all these whose weights aux gives. The slowest tier has searches under learned priors, too, where the
    device's half is known.
    Expected releases come from the device's half (`knowledge: white`), or from a stand-in learned from queries (black).
    Lengths double until the gain on held-out aux is below 2 %, weights are chosen there, and the answer is that of the
    member with the lowest MSE on a part of aux that nothing else has used: never a victim. Where the releases that are
    attacked contradict it, because the victims are unlike aux, a search from grey answers wherever that explains a
    release better; it needs the device's half. Where nets find no order of places in a release, they see the image that
    a ridge regression reads of it (`readout.py`), and the row's suite is called `… readout`.
    `tier` bounds the cost; what has not reached its plateau says so.
    `queries`: how often the same image is released to the adversary, who averages.
    Frozen: `suite` names the members and all their numbers. What a mechanism tells of its releases is the mechanism's,
    and has its version.
    """

    least_aux = LEAST

    @classmethod
    def version_of(cls, settings: Mapping[str, Any]) -> int:
        """The version of the tier that settings ask for, as keys have it."""
        return TIERS[settings["tier"]].version

    def __init__(self, *, tier: Literal["quick", "standard", "plus"], knowledge: Literal["white", "black"],
                 queries: Count) -> None:  # fmt: skip
        self.tier, self.knowledge, self.draws = tier, knowledge, queries
        named = f"autoinvert-{TIERS[tier].version}"
        self.suite = " ".join(word for word in (named, tier, knowledge) if word not in PLAIN)
        self.searches = TIERS[tier].priors and knowledge == "white"
        self.learns = learnt.learns() if self.searches else ()

    @property
    def requires(self) -> frozenset[Right]:  # type: ignore[override]
        white: tuple[Right, ...] = ("edge", "expected", "gap", "present") if self.knowledge == "white" else ()
        return frozenset(("query", "aux", *white))

    @property
    def adapts(self) -> frozenset[str]:
        return frozenset({"draws", "mask"})  # constant entries are known from queries, and releases as given averaged

    def fit(self, access: Access, home: Path) -> Suite:
        lab, tier = Lab(access, self.draws, home, alike=self.searches), TIERS[self.tier]
        lab.edge = access.expected if self.knowledge == "white" else Standin(lab, tier.refine)
        made: dict[str, Callable[[], Found]] = {
            "mean": lambda: members.mean_image(lab),
            "gallery": lambda: members.Gallery(lab),
            "decoder": lambda: members.decoder(lab, tier.decoder, tier.rungs),
            "refine": lambda: members.refine(lab, "refine", tier.refine, lab.made["decoder"]),
            "search": lambda: Search(lab, "search", lab.made["refine"], tier.tune, tier.search),
            "latent": lambda: learnt.latent(lab),
            "untrained": lambda: learnt.untrained(lab),
            "pnp": lambda: learnt.pnp(lab, lab.made["refine"]),
            "fuse": lambda: members.fuse(lab, tier.fuse, lab.made["search"], candidates(), tier.pool),
            "polish": lambda: Search(lab, "polish", lab.made["fuse"], tier.tune, tier.search),
            "blend": lambda: Blend(lab),
        }

        def candidates() -> list[Found]:
            return [lab.made[name] for name in ("gallery", "refine", "pnp") if name in lab.made]

        for name, make in made.items():
            if (tier.pool or name not in ("fuse", "polish")) and (self.searches or name not in LEARNT):
                lab.made[name] = Once(make())
        return Suite(lab)


class Suite(Reconstructor):
    """The fitted suite: releases -> the answer. `everything` also has what each member says.

    Batches of victims that are done are kept in the attack's folder.
    """

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.lab, self._batches = lab, Counter[str]()
        self.expected, self.gain = self._choose()
        self.choice = min(self.expected, key=self.expected.__getitem__)
        parts = {**lab.made, "standin": lab.edge}
        reports = {f"{name}/{key}": value for name, made in parts.items()
                   for key, value in getattr(made, "report", {}).items()}  # fmt: skip
        self.misled = False if isinstance(lab.edge, Standin) else None  # whether aux is unlike the victims
        self.bound = self._worst()
        within = settled.gains(lab, self.choice)
        self.report = {
            "answer": self.choice, "chosen_on": len(lab.pairs("select")[0]), "select_mse": self.expected[self.choice],
            "converged": max(within.values()) < GAIN,
            "gain_from_twice_effort": max(within.values()), "gain_from_twice_aux": self.gain,
            "gain_within": within, **reports, **{f"{name}/select": value for name, value in self.expected.items()},
        }  # fmt: skip
        for made in lab.made.values():
            made.forget()  # type: ignore[attr-defined]

    def _choose(self) -> tuple[dict[str, float], float]:
        """MSE of every member on the part of aux that none has used, and what twice the aux would take off it."""
        path = self.lab.home / "choice.pt"
        _, scores = state.load_state(path, {})
        if scores is None:
            x, releases = self.lab.pairs("select")
            values = [mse(made(releases), x) for made in self.lab.made.values()]
            x, releases = self.lab.pairs("learn")
            values.append(mse(self.lab.made["refine"](releases), x))
            scores = dict(zip([*self.lab.made, ""], host.to_host(torch.stack(values)), strict=True))
            state.save_state(path, 1, {}, scores)
        seen = scores.pop("")
        return scores, settled.gain_from_aux(seen, scores["refine"])

    @torch.no_grad()
    def _worst(self) -> float:
        """The greatest distance at which the answer leaves a release of the part of aux that none has used."""
        _, releases = self.lab.pairs("select")
        return host.to_host(self._far(self.lab.made[self.choice](releases), releases).amax()[None])[0]

    def _far(self, images: Tensor, releases: Tensor) -> Tensor:
        """How far releases (N, *shape) are from what is expected of images (N, C, H, W): (N,)."""
        pairs = zip(images.split(BATCH), releases.split(BATCH), strict=True)
        return torch.cat([self.lab.distance(x, r) for x, r in pairs])

    @torch.no_grad()
    def everything(self, releases: Tensor) -> dict[str, Tensor]:
        """What each member makes of releases (N, *shape), by name, and under "" the suite's answer."""
        images = self._kept("batch", releases.float(), self.lab.made)
        far = self._far(images[self.choice], releases)
        if self.misled is None:  # the first victims tell
            share = host.to_host((far > self.bound).float().mean()[None])[0]
            self.misled = share > MISLED
            self.report |= {"contradicted": share, "misled": self.misled}
        if self.misled:
            alone = self._kept("batch alone", releases.float(), {"unaided": Unaided(self.lab, TUNE)})["unaided"]
            nearer = self._far(alone, releases) < far
            images["unaided"] = torch.where(nearer.view(-1, 1, 1, 1), alone, images[self.choice])
            self.report["answer"] = "unaided"
        return {"": images[self.report["answer"]], **images}

    def forward(self, releases: Tensor) -> Tensor:
        return self.everything(releases)[""]

    def tidy(self) -> None:
        for pattern in ("batch*.pt", "fuse/*/pool*.pt"):
            for path in self.lab.home.glob(pattern):
                path.unlink()

    def _kept(self, label: str, releases: Tensor, made: Mapping[str, Found]) -> dict[str, Tensor]:
        """What members make of releases, in batches that are remembered under `label` and their number."""
        parts = []
        for part in releases.split(BATCH):
            self._batches[label] += 1
            path = self.lab.home / f"{label}{self._batches[label]}.pt"
            _, kept = state.load_state(path, {})
            if kept is None:
                kept = {name: member(part).clamp(0, 1) for name, member in made.items()}
                state.save_state(path, 1, {}, kept)
            parts.append({name: images.to(releases.device) for name, images in kept.items()})
        return {name: torch.cat([part[name] for part in parts]) for name in made}
