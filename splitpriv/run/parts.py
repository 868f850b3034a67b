"""From a config to the parts that it names; networks on the meta device only, and real ones on demand."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from splitpriv import plugins
from splitpriv.attacks.base import Attack
from splitpriv.config import Config
from splitpriv.data.base import Dataset
from splitpriv.data.knowledge import Knowledge
from splitpriv.data.protocol import Protocol
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.aside import aside
from splitpriv.defenses.parts.divided import Join
from splitpriv.defenses.parts.held import logits, taken
from splitpriv.measure.judge import Judge
from splitpriv.measure.measure import Measure
from splitpriv.nets.split import SplitNet
from splitpriv.run import asked, declared, limits, looks, meta
from splitpriv.run.plan import WHOLE
from splitpriv.run.recipe import Recipe, Untrained
from splitpriv.run.runtime import Runtime
from splitpriv.store.keys import listed
from splitpriv.targets import build
from splitpriv.tasks.base import Task
from splitpriv.types import Phase, Spec, UserError, blame

OF_TWO = 3  # images in an attack's batch from which on no part of an epoch is a single one: see `attacks.base.even`


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
    network: Mapping[str, Any]  # what keys hold of the network beside, or in place of, its settings


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
        with limits.buildable(node, where), blame(where):
            return declared.parts(build(node, where)(), where)

    groups = ("dataset", "task", "protocol", "knowledge", "optim", "runtime", "measure")
    parts = {name: attempt(made, cfg[name], name) for name in groups}
    still = isinstance(parts["optim"], Untrained)
    if parts["optim"] and not still:
        attempt(_try_optim, parts["optim"], cfg["optim"])
    attacks = {name: attempt(made, node, f"attack.{name}") for name, node in listed(cfg["attack"])}
    for name, node in listed(cfg["track"]):
        attempt(made, node, f"track.{name}")
    if not attacks:
        problems.append("attack: is empty; list at least one, as in attack=[decoder]")
    phases: tuple[Phase, ...] = ()
    network: Mapping[str, Any] = {}
    if parts["dataset"]:
        with meta.looking():
            model = attempt(make_model, cfg, parts["dataset"])
            if model:
                network = model.net.facts
                attempt(make_monitor, cfg, model)
                attempt(_require_sense, cfg, model, parts, attacks)
                phases = attempt(schedule, model)
                if still:
                    attempt(limits.require_still, cfg, model)
                if parts["task"]:
                    attempt(parts["task"].validate, model, parts["dataset"].spec)
                if phases and all(parts.values()):
                    attempt(_require_use, model, parts, phases)
        labelled = getattr(parts["knowledge"], "labelled", True)
        problems += asked.problems(attacks, parts["dataset"].spec, labelled, parts["protocol"])
        if parts["knowledge"]:
            attempt(parts["knowledge"].validate, parts["dataset"])
        if parts["measure"]:
            attempt(parts["measure"].validate, parts["dataset"].spec, labelled)
            attempt(_require_judge, cfg, parts["measure"].judging, parts["dataset"].spec)
    if problems:
        raise UserError(*problems)
    return Parts(**parts, attacks=attacks, phases=phases, network=network)


def _try_optim(recipe: Recipe, node: Mapping[str, Any]) -> None:
    """Build the optimiser and step its schedule as often as it will be: torch checks their values only then."""
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros(2, 2)
    with limits.buildable(node["optimizer"], "optim.optimizer"):
        optimizer = recipe.optimizer([weight])
        optimizer.step()
    if recipe.schedule is None:
        return
    with limits.buildable(node["schedule"], "optim.schedule"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedule = recipe.schedule(optimizer)
        for _ in range(min(recipe.epochs, 100)):
            schedule.step()
    if not all(math.isfinite(group["lr"]) for group in optimizer.param_groups):
        raise UserError("optim.schedule: makes the learning rate infinite; correct its settings")


def _require_sense(
    cfg: Config, model: Defended, parts: Mapping[str, Any], attacks: Mapping[str, Attack | None]
) -> None:
    """Raise UserError for a crop beyond the image, a batch that BatchNorm cannot normalise, and nets beyond memory."""
    problems = []
    dataset, optim, protocol = parts["dataset"], parts["optim"], parts["protocol"]
    side = min(dataset.spec.image[1:])
    if dataset.crop > side:
        problems.append(f"dataset.crop: pads {dataset.crop} pixels around images of {side}; give at most their side")
    first = protocol.limit.get("train") if protocol else None
    if optim and min(optim.batch, first or optim.batch) == 1:
        key = "optim.batch" if optim.batch == 1 else "protocol.limit.train"
        try:
            limits.require_normal(model.net, dataset.spec.image, 1, key)
        except UserError as error:
            problems += error.problems
    stages = sum(not isinstance(stage, Join) for stage in model.net.cloud) - 1
    for name, attack in attacks.items():
        try:
            with blame(f"attack.{name}"):
                if attack:
                    attack.validate(model.shape, stages)
        except UserError as error:
            problems += error.problems
        net = getattr(attack, "net", None)
        made: Any = dataset.spec.image  # what the net gives: an image, or logits of an attribute's values
        if attack and attack.recovers != "image":
            made = {"y": dataset.spec.classes, **dataset.spec.attributes}.get(attack.attribute, 2)
        seen = model.shape if attack is None or attack.observe == "release" else (dataset.spec.classes,)
        sizes = looks.told(cfg["attack"][name], name, seen, made)
        if callable(net) and sizes not in looks.FIT:
            try:
                learner = net(seen, made)
                limits.require_room(learner, cfg["attack"][name], f"attack.{name}")
                batch = getattr(attack, "batch", OF_TWO)
                limits.require_normal(learner, seen, batch, f"attack.{name}.batch", OF_TWO)
                if looks.is_ours(sizes):
                    looks.FIT.add(sizes)
            except UserError as error:
                problems += error.problems
            except (RuntimeError, TypeError, ValueError, MemoryError) as error:
                if "overflow" in str(error) or isinstance(error, MemoryError):
                    problems.append(f"attack.{name}.net: is larger than any memory; lower its width")
    if problems:
        raise UserError(*problems)


def _require_judge(cfg: Config, judge: Judge | None, spec: Spec) -> None:
    """Raise UserError for a judge beyond memory."""
    if judge:
        with meta.looking(), limits.buildable(cfg["measure"]["judge"], "measure.judge"):
            net = judge.net(spec.image, spec.classes)
        limits.require_room(net, cfg["measure"]["judge"], "measure.judge")


def _require_use(model: Defended, parts: Mapping[str, Any], phases: tuple[Phase, ...]) -> None:
    """Raise UserError for defences that a training of these phases, on batches of this size, would leave idle."""
    optim = parts["optim"]
    if not isinstance(optim, Untrained):
        limits.require_learning(model, phases)
    batch = min(optim.batch, parts["protocol"].limit.get("train") or optim.batch)
    epochs = [phase.epochs or optim.epochs for phase in phases if not phase.idle]
    limits.require_use(model, parts["task"].others(batch, parts["dataset"].spec), epochs)


def make_model(cfg: Config, dataset: Dataset, chain: bool = True) -> Defended:
    """The defended network of a config, freshly initialised from torch's random state; without its chain on demand."""
    problems: list[str] = []
    links: dict[str, Defense] = {}
    for name, node in listed(cfg["defense"] if chain else {}):
        try:
            with limits.buildable(node, f"defense.{name}"), blame(f"defense.{name}"), aside():
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
        with limits.buildable(cfg["backbone"], "backbone"):
            backbone = build(cfg["backbone"], "backbone")(dataset.spec)
            limits.require_room(backbone, cfg["backbone"], "backbone")
        with limits.buildable(cfg["split"], "split"):
            net = SplitNet(backbone, dataset.spec, at=cfg["split"]["at"], bottleneck=cfg["split"]["bottleneck"])
            limits.require_room(net, cfg["split"], "split")
        if plugins.of(cfg["backbone"]["_target_"]):  # ours are known to
            with limits.buildable(cfg["backbone"], "backbone"):
                logits(net, dataset.spec)
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(*problems)
    with limits.buildable(cfg["defense"] if chain else None, "defense"):
        z = looks.of(cfg, net, dataset.spec)
        model = Defended(net, links, dataset.spec, z)
        taken(model, z)
        declared.require(model)
    for name, link in links.items():
        limits.require_room(link, cfg["defense"][name], f"defense.{name}")
    model.precision = cfg["runtime"]["precision"]
    model.channels_last = cfg["runtime"]["channels_last"]
    return model


def make_monitor(cfg: Config, model: Defended) -> Any:
    """The inversion decoder that watches training, or None."""
    if not cfg["monitor"]:
        return None
    with limits.buildable(cfg["monitor"], "monitor"):
        monitor = build(cfg["monitor"], "monitor")()
        monitor.attach(model.shape, model.spec.image)
    return monitor


def schedule(model: Defended) -> tuple[Phase, ...]:
    """The phases of a chain: those of the one defence that brings a schedule, else one plain phase."""
    brought = {name: d.phases for name, d in model.defenses() if d.phases}
    if len(brought) > 1:
        raise UserError(f"defense: {' and '.join(brought)} both bring a training schedule; list only one of them")
    return next(iter(brought.values()), WHOLE)
