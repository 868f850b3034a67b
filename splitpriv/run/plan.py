"""From a config to the parts it names and the key of every stage, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from splitpriv.attacks.base import Attack
from splitpriv.config import Config, build
from splitpriv.data.base import Dataset
from splitpriv.data.knowledge import Knowledge
from splitpriv.data.protocol import Protocol
from splitpriv.defenses.base import Defended, Defense, aside
from splitpriv.measure.measure import Measure
from splitpriv.nets.split import SplitNet
from splitpriv.run.fit import Recipe
from splitpriv.run.runtime import Runtime
from splitpriv.store.keys import fingerprint, listed
from splitpriv.tasks.base import Task
from splitpriv.types import Phase, Spec, UserError, blame

WHOLE = (Phase("fit"),)


@dataclass
class Parts:
    """What a config names, built; the networks come later, from `make_model`."""

    dataset: Dataset
    task: Task
    protocol: Protocol
    knowledge: Knowledge
    optim: Recipe
    runtime: Runtime
    measure: Measure
    attacks: dict[str, Attack]
    phases: tuple[Phase, ...]


def assemble(cfg: Config) -> Parts:
    """Build every part of a config, networks on the meta device only; raise UserError with all problems that shows."""
    problems: list[str] = []

    def attempt(make: Callable[..., Any], *args: Any) -> Any:
        try:
            return make(*args)
        except UserError as error:
            problems.extend(error.problems)
            return None

    def made(node: Mapping[str, Any], where: str) -> Any:
        with blame(where):
            return build(node, where)()

    groups = ("dataset", "task", "protocol", "knowledge", "optim", "runtime", "measure")
    parts = {name: attempt(made, cfg[name], name) for name in groups}
    if parts["optim"]:
        attempt(_try_optim, parts["optim"])
    attacks = {name: attempt(made, node, f"attack.{name}") for name, node in listed(cfg["attack"])}
    if not attacks:
        problems.append("attack: is empty; list at least one, as in attack=[decoder]")
    phases: tuple[Phase, ...] = ()
    if parts["dataset"]:
        with torch.device("meta"):
            model = attempt(make_model, cfg, parts["dataset"])
            if model:
                attempt(make_monitor, cfg, model)
                phases = attempt(schedule, model)
                if parts["task"]:
                    attempt(parts["task"].validate, model, parts["dataset"].spec)
        _know(attacks, parts["dataset"].spec, problems)
        if parts["knowledge"]:
            attempt(parts["knowledge"].validate, parts["dataset"])
        if parts["measure"]:
            attempt(parts["measure"].validate, parts["dataset"].spec)
    if problems:
        raise UserError(*problems)
    return Parts(**parts, attacks=attacks, phases=phases)


def _know(attacks: Mapping[str, Attack | None], spec: Spec, problems: list[str]) -> None:
    """Attacks on an attribute, or on identities, that the data set does not have."""
    names = ["y", *spec.attributes]
    for name, attack in attacks.items():
        if attack and attack.recovers == "identity" and "identity" not in spec.attributes:
            problems.append(f"attack.{name}: the data set has no identities; choose one that has, dataset=identities")
        if attack and attack.recovers == "attribute" and attack.attribute not in names:
            problems.append(
                f"attack.{name}.attribute: the data set has no {attack.attribute!r}; choose one of {', '.join(names)}"
            )


def _try_optim(recipe: Recipe) -> None:
    """Build the optimiser and its schedule once: torch checks their values only then."""
    part = "optimizer"
    try:
        optimizer = recipe.optimizer([torch.nn.Parameter(torch.zeros(1))])
        part = "schedule"
        if recipe.schedule is not None:
            schedule = recipe.schedule(optimizer)
            optimizer.step()
            schedule.step()
    except (TypeError, ValueError) as error:
        raise UserError(f"optim.{part}: {error}; correct its settings") from error


def make_model(cfg: Config, dataset: Dataset, chain: bool = True) -> Defended:
    """The defended network of a config, freshly initialised from torch's random state; without its chain on demand."""
    problems: list[str] = []
    links: dict[str, Defense] = {}
    for name, node in listed(cfg["defense"] if chain else {}):
        try:
            with blame(f"defense.{name}"), aside():
                links[name] = build(node, f"defense.{name}")()
        except UserError as error:
            problems += error.problems
    for name, link in links.items() if not problems else ():
        try:
            with blame(f"defense.{name}"):
                link.validate(links)
        except UserError as error:
            problems += error.problems
    try:
        backbone = build(cfg["backbone"], "backbone")(dataset.spec)
        net = SplitNet(backbone, dataset.spec, at=cfg["split"]["at"], bottleneck=cfg["split"]["bottleneck"])
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(*problems)
    model = Defended(net, links, dataset.spec)
    model.precision = cfg["runtime"]["precision"]
    model.channels_last = cfg["runtime"]["channels_last"]
    return model


def make_monitor(cfg: Config, model: Defended) -> Any:
    """The inversion decoder that watches training, or None."""
    if not cfg["monitor"]:
        return None
    monitor = build(cfg["monitor"], "monitor")()
    monitor.attach(model.shape, model.spec.image)
    return monitor


def schedule(model: Defended) -> tuple[Phase, ...]:
    """The phases of a chain: those of the one defence that brings a schedule, else one plain phase."""
    brought = {name: d.phases for name, d in model.defenses() if d.phases}
    if len(brought) > 1:
        raise UserError(f"defense: {' and '.join(brought)} both bring a training schedule; list only one of them")
    return next(iter(brought.values()), WHOLE)


# ---- keys ----------------------------------------------------------------------------------------------------------


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
    row: str
    ceiling: str  # the row of the same run without its chain

    def stages(self) -> list[tuple[str, str, str]]:
        """(label, stage, key) in the order in which a run needs them."""
        fits = [(f"fit {p.name}", "fit", k) for p, k in zip(self.phases, self.fits, strict=True)]
        attacks = [(f"attack {name}", "attack", k) for name, k in self.attacks.items()]
        scores = [(f"measure {name}", "measure", k) for name, k in self.scores.items()]
        ceilings = [
            (f"{label} {name} on clean x", stage, key)
            for name, keys in self.clean.items()
            for label, stage, key in zip(("attack", "measure"), ("attack", "measure"), keys, strict=True)
        ]
        return [*fits, ("measure utility", "measure", self.utility), *attacks, *scores, *ceilings]


def plan(cfg: Config, parts: Parts) -> Plan:
    """Chain the keys: a fit's key hashes all that came before it, so undefended phases are shared without saying so.

    Attacks and measures hang on the fit without its monitor, which changes no weight: they are shared, too.
    """
    start, *fits = _fit_keys(cfg, parts.phases, parts.dataset)
    quiet = {**cfg, "monitor": {}}
    seeds = _fit_keys(quiet, parts.phases, parts.dataset)[1:]
    bare = _fit_keys({**quiet, "defense": {}}, WHOLE, parts.dataset)[-1]
    known = parts.knowledge.content
    utility, attacks, scores, row = _run_keys(cfg, seeds[-1], fits[-1], known)
    clean: dict[str, tuple[str, str]] = {}
    for name, attack in parts.attacks.items():
        if attack.recovers != "image" and attack.requires <= {"query", "aux"} and attack.observe == "release":
            seen = {k: cfg[k] for k in ("dataset", "knowledge", "attack_seed")}
            key = fingerprint(clean=seen, content=[parts.dataset.version, parts.knowledge.content],
                              attack=cfg["attack"][name], protocol=_played(cfg, *parts.knowledge.roles),
                              task=cfg["task"])  # fmt: skip
            clean[name] = key, fingerprint(attack=key, measure=cfg["measure"])
    return Plan(parts.phases, start, tuple(fits), tuple(seeds), utility, attacks, scores, clean, row,
                _run_keys(cfg, bare, bare, known)[-1])  # fmt: skip


def _fit_keys(cfg: Config, phases: tuple[Phase, ...], dataset: Dataset) -> list[str]:
    """The key of the untrained network, then that of every phase."""
    keys = [
        fingerprint(
            data={**cfg["dataset"], "content": dataset.version}, backbone=cfg["backbone"], split=cfg["split"],
            task=cfg["task"], protocol=_played(cfg, "train", "val"), seed=cfg["seed"],
            precision=cfg["runtime"]["precision"],
        )
    ]  # fmt: skip
    for phase in phases:
        chain = [] if phase.idle else listed(cfg["defense"])
        watched = cfg["monitor"] or {}  # changes no weight, but its record is part of the stage
        stretch = {k: v for k, v in vars(phase).items() if k != "idle"}  # an empty chain says the same
        keys.append(fingerprint(after=keys[-1], phase=stretch, optim=cfg["optim"], chain=chain, monitor=watched))
    return keys


def _played(cfg: Config, *roles: str) -> Config:
    """What a protocol says of some splits: more aux is another attack on the same target."""
    protocol = cfg["protocol"]
    chosen = {name: {role: (protocol[name] or {}).get(role) for role in roles} for name in ("slices", "limit")}
    others = {"train": ("attacked", "overlap"), "aux": ("select", "select_after")}[roles[0]]
    return {**{k: v for k, v in protocol.items() if k not in others}, **chosen}


def _run_keys(cfg: Config, target: str, fit: str, content: int) -> tuple[str, dict[str, str], dict[str, str], str]:
    """Keys of utility, attacks, scores and row of the weights called `target`, trained in the stage called `fit`."""
    protocol = {**_played(cfg, "aux", "victims"), "knowledge": cfg["knowledge"], "content": content}
    measured = cfg["measure"]
    attacks = {
        name: fingerprint(fit=target, attack=node, seed=cfg["attack_seed"], protocol=protocol)
        for name, node in listed(cfg["attack"])
    }
    scores = {name: fingerprint(attack=key, measure=measured) for name, key in attacks.items()}
    utility = fingerprint(fit=target, measure=measured, protocol=protocol)
    return utility, attacks, scores, fingerprint(fit=fit, scores=scores, measure=measured)
