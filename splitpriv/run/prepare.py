"""One prepared run: its config, held against all rules, the parts that it names and the key of every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from splitpriv import config, targets
from splitpriv.config import LISTS, SINGLE, Config, nearest
from splitpriv.run.parts import Parts, assemble
from splitpriv.run.plan import Plan, make_plan
from splitpriv.types import UserError, Whole

SEEDS = ("seed", "attack_seed")
SPLIT = ("at", "bottleneck")


@dataclass(frozen=True)
class Prepared:
    """A run that nothing speaks against, before anything is trained."""

    cfg: Config
    parts: Parts
    plan: Plan

    def reseeded(self, seed: int, attack_seed: int) -> Prepared:
        """The same run with other seeds, on which no part depends."""
        cfg = {**self.cfg, "seed": seed, "attack_seed": attack_seed}
        return Prepared(cfg, self.parts, make_plan(cfg, self.parts))


def prepare(cfg: Config) -> Prepared:
    """Build what a config names and name its stages.

    Raise UserError with all problems that can be known before data is touched: signatures, types, ranges, cross rules.
    """
    problems = _shape(cfg)
    misshapen = bool(problems)
    for where, node in targets.nodes(cfg):
        targets.bind(node, where, problems)
    try:
        parts = None if misshapen else assemble(cfg)
    except UserError as error:
        problems += error.problems
    if problems or parts is None:
        raise UserError(*dict.fromkeys(problems))
    return Prepared(cfg, parts, make_plan(cfg, parts))


def check(cfg: Config) -> list[str]:
    """All problems that `prepare` would raise."""
    try:
        prepare(cfg)
    except UserError as error:
        return error.problems
    return []


def from_overrides(overrides: Sequence[str]) -> Prepared:
    """Compose and prepare; raise UserError with all problems, those of what Hydra can compose included."""
    try:
        cfg = config.compose(overrides)
    except config.RefusedError as error:
        raise UserError(*error.problems, *check(error.rest)) from error
    return prepare(cfg)


def _nameless(group: str) -> str:
    """Why the settings of an option lie in its group itself; Hydra reads `# @package` only above all else in a file."""
    texts = {path.name: path.read_text() for path in sorted((config.CONF / group).glob("*.yaml"))}
    late = [name for name, text in texts.items() if "\n# @package" in text and not text.startswith("# @package")]
    which = f"of {', '.join(late)} " if late else ""
    return f"{group}: an option has no name; the first line {which}in conf/{group}/ must be `# @package {group}.NAME`"


def _shape(cfg: Config) -> list[str]:
    """What is missing from a config, or too much, outside its targets."""
    known = {*SINGLE, *LISTS, *SEEDS, "split", "monitor", "paths", "choices"}
    problems = [f"{key}: no such key here; {nearest(key, sorted(known))}" for key in sorted(set(cfg) - known)]
    problems += [f"{key}: is missing; do not remove it" for key in sorted(known - set(cfg))]
    for name in SINGLE:
        if name in cfg and not (isinstance(cfg[name], Mapping) and "_target_" in cfg[name]):
            problems.append(f"{name}: has no _target_; choose one of its options, as in {name}=NAME")
    for group in LISTS:
        if "_target_" in (cfg.get(group) or {}):
            problems.append(_nameless(group))
            continue
        for name, node in (cfg.get(group) or {}).items():
            if not isinstance(node, Mapping) or "_target_" not in node:
                problems.append(f"{group}.{name}: {name} is not listed; write {group}=[{name}] before its settings")
    split = cfg.get("split", {})
    if set(split) != set(SPLIT):
        extra = ", ".join(f"split.{key}" for key in sorted(set(split) ^ set(SPLIT)))
        problems.append(f"{extra}: unknown or missing; a split has {' and '.join(SPLIT)}")
    elif not isinstance(split["bottleneck"], Mapping | None):
        problems.append(
            f"split.bottleneck: is {split['bottleneck']!r}; give channels, kernel, stride and activation, or null"
        )
    for name in SEEDS:
        try:
            TypeAdapter(Whole).validate_python(cfg.get(name, 0), strict=True)
        except ValidationError:
            problems.append(f"{name}: should be a whole number of at least 0, got {cfg[name]!r}")
    return problems
