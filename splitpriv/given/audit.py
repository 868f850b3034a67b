"""An audit: what the releases of an edge that we did not train give away of its users' pictures, as a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Literal

from splitpriv import config, overrides
from splitpriv.attacks.base import Attack
from splitpriv.config import Config
from splitpriv.data.base import Dataset
from splitpriv.given import releases, stages
from splitpriv.given.context import Audited, Knowledge
from splitpriv.given.device import Device
from splitpriv.given.edge import Edge, opened
from splitpriv.given.images import Pictures, Size, pictures
from splitpriv.given.sides import Sides, sides
from splitpriv.measure.flags import flags_of, raised
from splitpriv.measure.verdict import weigh
from splitpriv.run.parts import Parts
from splitpriv.run.plan import Plan, priors_of
from splitpriv.run.prepare import Prepared
from splitpriv.run.row import make_row, read_json
from splitpriv.run.stages import copies, score
from splitpriv.store import Row, Store
from splitpriv.store.keys import fingerprint, listed
from splitpriv.targets import build
from splitpriv.tasks.base import Task
from splitpriv.types import Spec, UserError

Tier = Literal["quick", "standard", "plus"]
VERSION = 1  # of all that an audit's numbers depend on besides what keys hold
TIERS: Mapping[str, str] = {"quick": "autoinvert_quick", "standard": "autoinvert", "plus": "autoinvert_plus"}
ASKED = ("attack", "attack_seed", "measure", "runtime", "paths", "track")  # groups that an audit has settings of
RIGHTS: Mapping[Knowledge, frozenset[str]] = {
    "white": frozenset({"query", "aux", "edge", "expected", "clean", "mask", "gap", "present"}),
    "query": frozenset({"query", "aux", "mask"}),
    "recorded": frozenset({"query", "aux", "mask"}),
}
LACKS: Mapping[Knowledge, str] = {
    "white": "comes without a cloud", "query": "gives no gradient", "recorded": "is not here to be asked"
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of whom. `edge`: a file, package:function or module, None where its releases were recorded;
    `releases`: a .npz of them; `data` and `victims`: folders or arrays of images, see `given.images.pictures`; `words`:
    overrides of attacks, measures and places. Raises UserError where nothing could answer it.
    """

    edge: Any = None
    data: Any = None
    victims: Any = None
    releases: Path | str | None = None
    size: Size = None
    channels: int | None = None
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    tier: Tier = "quick"
    paired: bool = False
    words: Sequence[str] = ()

    def __post_init__(self) -> None:
        odd = _meaningless(self.words)
        problems = [f"{key}: has no meaning in an audit; settings are of {', '.join(ASKED)}" for key in odd]
        if self.edge is None and self.releases is None:
            problems.append("audit: names nothing to attack; give --edge, or --releases that a device sent")
        if self.tier not in TIERS:
            problems.append(f"--tier: {self.tier!r} is none; there are {', '.join(TIERS)}")
        if self.channels not in (None, 1, 3):
            problems.append(f"--channels: {self.channels} is neither 1 nor 3")
        if any(not 0 <= value <= 1 for value in self.mean):
            problems.append("--mean: is not in [0, 1], as images are; divide mean and std of bytes by 255")
        if any(value == inf for value in self.std):
            problems.append("--std: is infinite; give the standard deviations that the edge expects")
        if any(not value > 0 for value in self.std):
            problems.append("--std: is not above 0; give the standard deviations that the edge expects")
        if any(side < 1 for side in ([self.size] if isinstance(self.size, int) else self.size or ())):
            problems.append("--size: is not above 0; give the side of images in pixels, or HEIGHT,WIDTH")
        if problems:
            raise UserError(*problems)


def _meaningless(words: Sequence[str]) -> list[str]:
    """The keys of overrides that an audit has no settings of."""
    keys = [overrides.place_of(word) for word in words]
    return [key for key in keys if key.replace("/", ".").split(".")[0] not in ASKED]


def audit(question: Question) -> tuple[Row, Audited]:
    """Answer a question: attack, measure and write the row; stages that are in the store return at once.

    Raises UserError for all that does not fit, before anything is learned.
    """
    run = prepare(question)
    store, plan = run.store, run.plan
    finished = store.row(plan.row)
    if finished is not None:
        return finished, run
    run.require_finite()
    shared = read_json(run.kept("measure", plan.copies, partial(copies, run)) / "facts.json")
    facts = read_json(run.kept("measure", plan.utility, partial(stages.facts, run)) / "facts.json")
    homes = {name: run.kept("attack", key, partial(stages.attack, run, name)) for name, key in plan.attacks.items()}
    scored = {name: run.kept("measure", key, partial(score, run, name)) for name, key in plan.scores.items()}
    row = make_row(run.prepared, store, facts, shared, homes, scored)
    row |= {"study": "audit", "way": f"{run.knowledge}, {question.tier}"}
    flags = [replace(flag, remedy="") if _meaningless(flag.remedy.split()) else flag for flag in flags_of(row)]
    flags += [raised("expected", str(len(run.sent)), measured=len(run.victims))] if run.sent is not None else []
    row |= {"verdict": weigh(flags), "flags": [flag.record() for flag in flags]}
    if run.sent is not None:
        row |= {"sent": len(run.sent), **{f"sent/{n}": f"attack/{home.name}/sent.png" for n, home in homes.items()}}
    store.add_row(row)
    return row, run


def prepare(question: Question) -> Audited:
    """Open, read and lay out all that a question names, and plan its stages; nothing is learned."""
    cfg = config.compose([f"attack=[{TIERS[question.tier]}]", *question.words])
    edge = None if question.edge is None else opened(question.edge)
    held = _sides(question, edge, Path(cfg["paths"]["data"]))
    runtime = build(cfg["runtime"], "runtime")()
    place = runtime.start()
    spec = Spec(tuple(held.aux.images.shape[1:]), 1)  # type: ignore[arg-type]
    device = None if edge is None else Device(edge, spec.image, place, question.mean, question.std)
    _same_shape(device, held)
    knowledge: Knowledge = "recorded" if device is None else "white" if device.white else "query"
    if knowledge != "white" and not any(overrides.key_of(word).startswith("attack") for word in question.words):
        name = TIERS[question.tier]
        cfg = config.compose([f"attack=[{name}]", f"attack.{name}.knowledge=black", *question.words])
    attacks = {name: build(node, f"attack.{name}")() for name, node in listed(cfg["attack"])}
    _allowed(attacks, knowledge, held)
    dataset = Dataset()
    dataset.spec = spec
    measure = build(cfg["measure"], "measure")()
    measure.validate(spec, labelled=False)
    cfg = _told(cfg, question, edge, held, knowledge)
    nothing: Any = None
    parts = Parts(dataset, Task(), nothing, nothing, nothing, runtime, measure, attacks, (), {})
    plan = _plan(cfg, attacks)
    return Audited(Prepared(cfg, plan, parts), Store(cfg["paths"]["outputs"]), place, held, device, knowledge)


def _sides(question: Question, edge: Edge | None, cache: Path) -> Sides:
    channels = question.channels or (edge.image[0] if edge and edge.image[0] in (1, 3) else None)

    def read(source: Any, option: str) -> Pictures | None:
        return None if source is None else pictures(source, option, cache, question.size, channels)

    sent = None if question.releases is None else releases.recorded(question.releases)
    if sent is not None and sent.images is not None:
        sent = replace(sent, images=pictures(sent.images, "--releases: images", cache, question.size, channels).images)
    data, victims = read(question.data, "--data"), read(question.victims, "--victims")
    return sides(data, victims, sent, device=edge is not None, paired=question.paired)


def _same_shape(device: Device | None, held: Sides) -> None:
    if device is None:
        return
    for sent in (held.victims_releases, held.sent):
        if sent is not None and tuple(sent.shape[1:]) != device.shape:
            raise UserError(f"--releases: of shape {tuple(sent.shape[1:])}, and the edge sends {device.shape}; "
                            "give those of this edge")  # fmt: skip


def _allowed(attacks: Mapping[str, Attack], knowledge: Knowledge, held: Sides) -> None:
    """Attacks that an adversary of this knowledge can make."""
    problems = [] if attacks else ["attack: is empty; list at least one, as in attack=[autoinvert_quick]"]
    for name, attack in attacks.items():
        if attack.recovers != "image" or attack.observe != "release":
            problems.append(f"attack.{name}: is no attack on images by their releases, which an audit is about")
        elif lacking := sorted(attack.requires - RIGHTS[knowledge]):
            problems.append(f"attack.{name}: needs {' and '.join(lacking)}, and the device {LACKS[knowledge]}; use "
                            "decoder, or a suite with knowledge=black")  # fmt: skip
        if attack.draws > 1 and held.victims_releases is not None:
            problems.append(
                f"attack.{name}: averages {attack.draws} releases, and one of each was recorded; use one draw"
            )
    if problems:
        raise UserError(*problems)


def _told(cfg: Config, question: Question, edge: Edge | None, held: Sides, knowledge: Knowledge) -> Config:
    """The config of an audit as its key and its row have it: what things hold, not where they lie."""
    digest = {name: Pictures(split.images).digest for name, split in (("aux", held.aux), ("victims", held.victims))}
    recorded = {"aux_releases": held.aux_releases, "victims_releases": held.victims_releases, "sent": held.sent}
    sent = {name: Pictures(releases).digest for name, releases in recorded.items() if releases is not None}
    width = {"width": held.width} if held.width != Sides.width else {}  # of which digests, of floats, say nothing
    source = question.victims if question.victims is not None else question.data
    named = str(source) if isinstance(source, str | Path) else question.releases if source is None else "given"
    name = edge.name if edge else Path(str(question.releases)).name
    return {
        **{key: cfg[key] for key in (*ASKED, "objective")}, "seed": 0,
        "dataset": {**digest, **sent, "image": list(held.aux.images.shape[1:])},
        "edge": {"kind": edge.kind if edge else "recorded", "digest": edge.digest if edge else None,
                 "mean": list(question.mean), "std": list(question.std), **width},
        "defense": {name: {}}, "backbone": {}, "monitor": {}, "split": {"at": "as given"},
        "knowledge": {"held": knowledge},
        "protocol": {"overlap": False, "limit": {}, "version": VERSION},
        "choices": {"dataset": Path(str(named)).name or "given", "backbone": edge.kind if edge else "recorded",
                    "protocol": "audit", "knowledge": knowledge, "split": "as given"},
    }  # fmt: skip


def _plan(cfg: Config, attacks: Mapping[str, Attack]) -> Plan:
    """Keys from contents: the edge's, the images' and the releases'."""
    given = {name: cfg[name] for name in ("edge", "dataset", "knowledge", "protocol")}
    seed, measured = cfg["attack_seed"], cfg["measure"]
    keys = {name: fingerprint(audit=given, attack=node, seed=seed) for name, node in listed(cfg["attack"])}
    scores = {name: fingerprint(attack=key, measure=measured) for name, key in keys.items()}
    images = fingerprint(images=cfg["dataset"]["aux"], seed=seed)
    row = fingerprint(audit=given, scores=scores, measure=measured)
    shared = fingerprint(copies=cfg["dataset"], audit=VERSION)
    facts = fingerprint(facts=given, measure=measured)
    return Plan(
        (),
        "",
        (),
        (fingerprint(audit=given),),
        facts,
        keys,
        scores,
        {},
        images,
        shared,
        priors_of(attacks, images),
        row,
        row,
    )
