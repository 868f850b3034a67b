"""From a config to the parts that it names; networks on the meta device only, and real ones on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from splitpriv.attacks.base import Attack
from splitpriv.config import Config
from splitpriv.data.base import Dataset
from splitpriv.data.knowledge import Knowledge
from splitpriv.data.protocol import Protocol
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.aside import aside
from splitpriv.measure.measure import Measure
from splitpriv.nets.split import SplitNet
from splitpriv.run.fit import Recipe
from splitpriv.run.runtime import Runtime
from splitpriv.store.keys import listed
from splitpriv.targets import build
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
