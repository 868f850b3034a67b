"""One prepared run: its config, held against all rules, the parts that it names and the key of every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from splitpriv import config, options, plugins, targets
from splitpriv.config import LISTS, SINGLE, Config, nearest
from splitpriv.run import aims, limits, looks
from splitpriv.run.parts import Parts, assemble
from splitpriv.run.plan import Planned, make_plan
from splitpriv.store import say
from splitpriv.types import UserError, Whole

SEEDS = ("seed", "attack_seed")
SPLIT = ("at", "bottleneck")


@dataclass(frozen=True)
class Prepared(Planned):
    """A run that nothing speaks against, before anything is trained."""

    parts: Parts

    def say_reading(self) -> None:
        """What was read of one's own images, and what was not."""
        reading = self.parts.dataset.reading
        for line in reading.lines(most=8) if reading else ():
            say(f"data: {line}")

    def reseeded(self, seed: int, attack_seed: int) -> Prepared:
        """The same run with other seeds, on which no part depends."""
        cfg = {**self.cfg, "seed": seed, "attack_seed": attack_seed}
        return Prepared(cfg, make_plan(cfg, self.parts), self.parts)


def prepare(cfg: Config) -> Prepared:
    """Build what a config names and name its stages.

    Raise UserError with all problems that can be known before data is touched: signatures, types, ranges, cross rules.
    """
    plugins.use(cfg.get("plugins") or ())
    plugins.load()
    problems = _shape(cfg)
    misshapen = bool(problems)
    problems += limits.numbers(cfg)
    for where, node in targets.nodes(cfg):
        before, told = len(problems), looks.told(where, node)
        if told not in looks.FAULTLESS:
            targets.bind(node, where, problems)
            if len(problems) == before and looks.is_ours(told):
                looks.FAULTLESS.add(told)
    parts = None
    try:
        parts = None if misshapen else assemble(cfg)
    except UserError as error:
        problems += error.problems
    except Exception:
        if not problems:  # else it follows from one of them
            raise
    if parts is not None:
        recovers = {name: attack.recovers for name, attack in parts.attacks.items()}
        suite = any(attack.suite is not None for attack in parts.attacks.values())
        problems += aims.problems(cfg, recovers, suite)
    if problems or parts is None:
        raise UserError(*_specific(problems))
    return Prepared(cfg, make_plan(cfg, parts), parts)


def _specific(problems: Sequence[str]) -> list[str]:
    """Each problem once; without what could not be built because of a setting that is named anyhow."""
    keys = {problem.partition(": ")[0] for problem in problems}
    return [p for p in dict.fromkeys(problems)
            if limits.UNBUILT not in p or not any(k.startswith(f"{p.partition(': ')[0]}.") for k in keys)]  # fmt: skip


def whole(planned: Planned) -> Prepared:
    """A run with its parts; what was only known from before is held against all rules again."""
    return planned if isinstance(planned, Prepared) else prepare(planned.cfg)


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
        raise UserError(*error.problems, *(p for p in check(error.rest) if not error.follows(p))) from error
    return prepare(cfg)


def _nameless(group: str) -> str:
    """Why the settings of an option lie in its group itself; Hydra reads `# @package` only above all else in a file."""
    listed = {name: options.file(config.CONF, group, name) for name in options.names(config.CONF, group)}
    texts = {path.name: path.read_text(encoding="utf-8") for path in listed.values() if path}
    late = [name for name, text in texts.items() if "\n# @package" in text and not text.startswith("# @package")]
    which = f"of {', '.join(late)} " if late else ""
    return f"{group}: an option has no name; the first line {which}in conf/{group}/ must be `# @package {group}.NAME`"


def _shape(cfg: Config) -> list[str]:
    """What is missing from a config, or too much, outside its targets."""
    known = {*SINGLE, *LISTS, *SEEDS, "split", "monitor", "objective", "paths", "plugins", "choices"}
    problems = [f"{key}: no such key here; {nearest(str(key), sorted(known))}" for key in cfg if key not in known]
    problems += [f"{key}: is missing; do not remove it" for key in sorted(known - set(cfg))]
    for name in SINGLE:
        if name in cfg and not (isinstance(cfg[name], Mapping) and "_target_" in cfg[name]):
            problems.append(f"{name}: has no _target_; choose one of its options, as in {name}=NAME")
    for group in LISTS:
        parts = cfg.get(group) or {}
        if not isinstance(parts, Mapping):
            problems.append(f"{group}: is {parts!r}; list options by name, as in {group}=[NAME]")
            continue
        if "_target_" in parts:
            problems.append(_nameless(group))
            continue
        for name, node in parts.items():
            if not isinstance(node, Mapping) or "_target_" not in node:
                problems.append(f"{group}.{name}: {name} is not listed; write {group}=[{name}] before its settings")
            elif not isinstance(name, str) or not name.isidentifier():
                problems.append(f"{group}.{name}: is no name; letters, digits and _ make one")
    monitor = cfg.get("monitor") or {}
    if not isinstance(monitor, Mapping) or (monitor and "_target_" not in monitor):
        problems.append("monitor: has no _target_; choose monitor=none or monitor=decoder")
    return [*problems, *_split(cfg.get("split")), *(p for name in SEEDS if name in cfg for p in _seed(cfg, name))]


def _split(split: object) -> list[str]:
    if not isinstance(split, Mapping):
        return [f"split: is {split!r}; choose one of its options, as in split=middle"]
    if set(split) != set(SPLIT):
        extra = ", ".join(f"split.{key}" for key in sorted(set(map(str, split)) ^ set(SPLIT)))
        return [f"{extra}: unknown or missing; a split has {' and '.join(SPLIT)}"]
    if not isinstance(split["bottleneck"], Mapping | None):
        told = f"is {split['bottleneck']!r}; give channels, kernel, stride and activation, or null"
        return [f"split.bottleneck: {told}"]
    if not isinstance(split["at"], int | str | Mapping):
        return [f"split.at: is {split['at']!r}; give the number of stages on the edge, or the last of them by name"]
    return []


def _seed(cfg: Config, name: str) -> list[str]:
    try:
        TypeAdapter(Whole).validate_python(cfg[name], strict=True)
    except ValidationError:
        sweep = (
            f"; a sweep reads {name}={','.join(map(str, cfg[name]))}, with -m" if isinstance(cfg[name], list) else ""
        )
        return [f"{name}: should be a whole number of at least 0, got {cfg[name]!r}{sweep}"]
    return []
