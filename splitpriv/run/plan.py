"""The key of every stage of a run, before anything is trained. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from splitpriv.config import Config
from splitpriv.store import State, Store
from splitpriv.store.keys import fingerprint, listed
from splitpriv.types import Phase, UserError

if TYPE_CHECKING:
    from splitpriv.attacks.base import Attack
    from splitpriv.run.parts import Parts

Kind = Literal["fit", "prior", "attack", "measure"]

WHOLE = (Phase("fit"),)
SHARED = ("slices", "shuffle", "seed", "overlap", "limit", "duplicates")  # what a protocol says of who has an image


@dataclass(frozen=True)
class Stage:
    """One thing to be made and kept: its folder in the store is `kind`/`key`.

    `name`: of the phase or the attack, or "utility"; `clean`: where the device sends x itself.
    """

    kind: Kind
    name: str
    key: str
    clean: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.name}{' on clean x' if self.clean else ''}"


@dataclass(frozen=True)
class Plan:
    """The key of every stage of a run, known before anything is trained."""

    phases: tuple[Phase, ...]
    start: str  # of the network's initialisation
    fits: tuple[str, ...]  # one per phase, chained
    seeds: tuple[str, ...]  # the same without the monitor, so that watching changes no random number
    utility: str
    attacks: Mapping[str, str]
    scores: Mapping[str, str]
    clean: Mapping[str, tuple[str, str]]  # (attack, scores) of the same attack where the device sends x itself
    images: str  # of the adversary's images, for what depends on them alone
    copies: str  # of what the splits share
    priors: Mapping[str, str]  # what an attack, or the judge, learns from the adversary's images, by its name
    row: str
    ceiling: str  # the row of the same run without its chain

    def stages(self) -> list[Stage]:
        """Every stage, in the order in which a run needs them."""
        return [
            Stage("measure", "copies", self.copies),
            *(Stage("fit", phase.name, key) for phase, key in zip(self.phases, self.fits, strict=True)),
            Stage("measure", "utility", self.utility),
            *(Stage("prior", name, key) for name, key in self.priors.items()),
            *(Stage("attack", name, key) for name, key in self.attacks.items()),
            *(Stage("measure", name, key) for name, key in self.scores.items()),
            *(stage for name, (attack, scores) in self.clean.items()
              for stage in (Stage("attack", name, attack, True), Stage("measure", name, scores, True))),
        ]  # fmt: skip


@dataclass(frozen=True)
class Planned:
    """A run by its config and its plan, which is all that is needed to say what of it is there."""

    cfg: Config
    plan: Plan

    def say_reading(self) -> None:
        """What was read of one's own images, and what was not; a run that reads none says nothing."""


def preview(planned: Planned, store: Store) -> tuple[list[tuple[Stage, State]], State]:
    """The state of each stage of a run, and that of its row."""
    states = [(stage, store.state(stage.kind, stage.key)) for stage in planned.plan.stages()]
    return states, "cached" if store.row(planned.plan.row) else "missing"


def make_plan(cfg: Config, parts: Parts) -> Plan:
    """Chain the keys: a fit's key hashes all that came before it, so undefended phases are shared without saying so.

    Attacks and measures hang on the fit without its monitor, which changes no weight: they are shared, too.
    """
    shared = {name: cfg["protocol"].get(name) for name in SHARED}
    if parts.protocol.groups(parts.dataset.duplicates):  # who has an image then depends on all that others have
        cfg = {**cfg, "protocol": {**cfg["protocol"], "together": shared}}
    root = Path(cfg["paths"]["data"])
    held, known = parts.dataset.content(root), parts.knowledge.content(root)
    if not isinstance(held, int | str):
        raise UserError(f"dataset: content gives {held!r:.80}; return a whole number or a text, which keys hold")
    cfg = {**cfg, "backbone": {**cfg["backbone"], **parts.network}}
    start, *fits = _fit_keys(cfg, parts.phases, held)
    quiet = {**cfg, "monitor": {}}
    seeds = _fit_keys(quiet, parts.phases, held)[1:]
    bare = _fit_keys({**quiet, "defense": {}}, WHOLE, held)[-1]
    clean: dict[str, tuple[str, str]] = {}
    seen = {k: cfg[k] for k in ("dataset", "knowledge", "attack_seed")}
    content = [held, known]
    images = fingerprint(images=seen, content=content, protocol=_played(cfg, *parts.knowledge.roles))
    copies = fingerprint(copies=cfg["dataset"], content=content, knowledge=cfg["knowledge"], protocol=shared)
    judge = parts.measure.judging
    priors = priors_of(parts.attacks, images) | ({"judge": prior_key(images, judge.what)} if judge else {})
    for name, attack in parts.attacks.items():
        if attack.recovers != "image" and attack.requires <= {"query", "aux"} and attack.observe == "release":
            effort = {"effort": attack.rounds} if attack.rounds else {}
            key = fingerprint(clean=seen, content=content,
                              attack=cfg["attack"][name], protocol=_played(cfg, *parts.knowledge.roles),
                              task=cfg["task"], **effort)  # fmt: skip
            clean[name] = key, fingerprint(attack=key, measure=cfg["measure"])
    above = {name: scores for name, (_, scores) in clean.items() if parts.attacks[name].rounds}
    utility, attacks, scores, row = _run_keys(cfg, seeds[-1], fits[-1], known, above)
    return Plan(parts.phases, start, tuple(fits), tuple(seeds), utility, attacks, scores, clean, images, copies, priors,
                row, _run_keys(cfg, bare, bare, known, above)[-1])  # fmt: skip


def priors_of(attacks: Mapping[str, Attack], images: str) -> dict[str, str]:
    """The key of all that attacks learn from the adversary's `images` alone, by name."""
    return {" ".join([name, *[what["prior"]] * (len(attack.learns) > 1)]): prior_key(images, what)
            for name, attack in attacks.items() for what in attack.learns}  # fmt: skip


def prior_key(images: str, what: Mapping[str, Any]) -> str:
    """The key of what is learned from the adversary's `images` by the settings `what`, whatever the chain."""
    return fingerprint(images=images, what=what)


def _fit_keys(cfg: Config, phases: tuple[Phase, ...], content: int | str) -> list[str]:
    """The key of the untrained network, then that of every phase."""
    keys = [
        fingerprint(
            data={**cfg["dataset"], "content": content}, backbone=cfg["backbone"], split=cfg["split"],
            task=cfg["task"], protocol=_played(cfg, "train", "val"), seed=cfg["seed"],
            precision=cfg["runtime"]["precision"],
        )
    ]  # fmt: skip
    for phase in phases:
        chain = [] if phase.idle else listed(cfg["defense"])
        watched = cfg["monitor"] or {}  # changes no weight, but its record is part of the stage
        said = {"idle"} if phase.frozen else {"idle", "frozen"}  # by an empty chain, and by every key of before
        stretch = {k: v for k, v in vars(phase).items() if k not in said}
        keys.append(fingerprint(after=keys[-1], phase=stretch, optim=cfg["optim"], chain=chain, monitor=watched))
    return keys


def _played(cfg: Config, *roles: str) -> Config:
    """What a protocol says of some splits: more aux is another attack on the same target."""
    protocol = cfg["protocol"]
    chosen = {name: {role: (protocol[name] or {}).get(role) for role in roles} for name in ("slices", "limit")}
    theirs = {"train": ("attacked", "overlap"), "aux": ("select", "select_after")}[roles[0]]
    others = (*theirs, "queries")  # which attacks that heed it say again
    return {**{k: v for k, v in protocol.items() if k not in others}, **chosen}


def _run_keys(
    cfg: Config, target: str, fit: str, content: int | str, above: Config
) -> tuple[str, dict[str, str], dict[str, str], str]:
    """Keys of utility, attacks, scores and row of the weights called `target`, trained in the stage called `fit`."""
    protocol = {**_played(cfg, "aux", "victims"), "knowledge": cfg["knowledge"], "content": content}
    measured = cfg["measure"]
    attacks = {
        name: fingerprint(fit=target, attack=node, seed=cfg["attack_seed"], protocol=protocol)
        for name, node in listed(cfg["attack"])
    }
    scores = {name: fingerprint(attack=key, measure=measured) for name, key in attacks.items()}
    tried = {"clean": above} if above else {}  # whose effort came later than keys
    utility = fingerprint(fit=target, measure=measured, protocol=protocol)
    return utility, attacks, scores, fingerprint(fit=fit, scores=scores, measure=measured, **tried)
