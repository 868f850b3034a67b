"""From overrides to the config of one run, by Hydra; what it refuses is explained. Imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitpriv import options, overrides, plugins, resolved
from splitpriv.types import UserError

Config = dict[str, Any]

CONF = next(p for p in (Path(__file__).parent / "conf", Path(__file__).parents[1] / "conf") if p.is_dir())
MISSING = "???"  # OmegaConf's mark of a value that the user must give
SINGLE = ("dataset", "backbone", "task", "optim", "protocol", "knowledge", "measure", "runtime")  # one target each
LISTS = resolved.LISTS


class RefusedError(UserError):
    """Overrides that Hydra refused; `rest` is the config of the others, `keys` are those that were refused."""

    def __init__(self, *problems: str, rest: Config, keys: Sequence[str]) -> None:
        super().__init__(*problems)
        self.rest, self.keys = rest, tuple(keys)

    def follows(self, problem: str) -> bool:
        """Whether a problem of `rest` is there because an override was refused: its key lies at or near that one."""
        key = problem.partition(":")[0]
        return any(key == k or key.startswith(f"{k}.") or k.startswith(f"{key}.") for k in self.keys)


def compose(words: Sequence[str]) -> Config:
    """The resolved config of one run, with `choices` (group -> option) inside; raise RefusedError with all problems.

    Of a key given more than once the last counts; what is for Hydra itself, its launchers and sweepers, is left out.
    """
    kept = with_plugins(words)
    if not any(overrides.parse(word)[1] for word in kept):
        try:
            return _compose(kept, whole=True)
        except _refusals():
            pass
    # Something is wrong: add the overrides one by one, groups before the keys inside them, and explain each refusal.
    good: list[str] = []
    problems: list[str] = []
    keys: list[str] = []
    for word in sorted(kept, key=lambda w: "." in overrides.key_of(w)):
        problem = overrides.parse(word)[1]
        if not problem:
            try:
                _compose([*good, word])
                good.append(word)
                continue
            except _refusals() as error:
                problem = _explain(word, error, good)
        if not any(overrides.place_of(word).startswith(f"{key}.") for key in keys):  # else it follows from another
            problems.append(problem)
        keys.append(overrides.place_of(word.lstrip("-")))
    if not problems:
        return _compose(good, whole=True)
    raise RefusedError(*problems, rest=_compose(good), keys=keys)


def _refusals() -> tuple[type[Exception], ...]:
    """What Hydra and OmegaConf raise at what people type: ValueError for a null group, TypeError for odd keys."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError, RecursionError, UserError


def with_plugins(words: Sequence[str]) -> list[str]:
    """The words that count, without those for Hydra itself; the plug-ins that they name are the active ones."""
    kept = [word for word in overrides.last_of(words)[0] if not overrides.is_hydra(word)]
    told: list[str] = []
    for word in [word for word in kept if overrides.key_of(word) == "plugins" and "=" in word]:
        parsed, problem = overrides.parse(word)
        value = parsed.value() if parsed else None
        names = [] if value is None else [value] if isinstance(value, str) else value
        if problem or not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise UserError(problem or "plugins: lists packages, files or folders; write 'plugins=[my_package]'")
        told += map(str, names)
    plugins.use(plugins.named(told))
    plugins.require_apart(CONF)
    return kept


def _compose(words: Sequence[str], whole: bool = False) -> Config:
    """`whole`: these are all words, so that a plug-in which none of them uses is a mistake."""
    cfg = resolved.config(CONF, *_apart(words))
    if whole:
        plugins.require_used(flatten(cfg).values())
    return {**cfg, "plugins": [plugin.entry for plugin in plugins.active()]}


def for_hydra(words: Sequence[str]) -> list[str]:
    """Overrides of `compose` as Hydra itself can compose them."""
    chosen, values = _apart(with_plugins(words))
    return [*options.compose(CONF, chosen)[2], *(str(value.input_line) for value in values)]


def parts_of(words: Sequence[str]) -> set[str]:
    """The defences and attacks that these overrides list, as `defense.noise`; empty where they cannot be composed."""
    try:
        plain = [word for word in with_plugins(words) if "@" not in overrides.key_of(word)]
        tree = options.compose(CONF, _apart(plain)[0])[0]
    except _refusals():
        return set()
    return {f"{group}.{name}" for group in options.REPLACEABLE for name in tree.get(group) or {}}


def _apart(words: Sequence[str]) -> tuple[tuple[str, ...], list[Any]]:
    """Those overrides that choose options, and, read, those that set values."""
    chosen, values = [], []
    for word in words:
        parsed, problem = overrides.parse(word)
        if parsed is None:
            raise UserError(problem)
        if (CONF / parsed.key_or_group).is_dir() and not isinstance(parsed.value(), dict):
            if parsed.key_or_group in (*SINGLE, "split", "monitor") and isinstance(parsed.value(), list):
                raise UserError(f"{parsed.key_or_group}: takes one option; write {parsed.key_or_group}=NAME, no list")
            chosen.append(word)
            if "/" in overrides.value_of(word):  # Hydra would read it, and its settings might land anywhere
                raise UserError(_path(parsed.key_or_group, overrides.value_of(word)))
            options.require_distinct(CONF, word)
        else:
            values.append(parsed)
    return tuple(chosen), values


def grid(option: str) -> dict[str, list[Any]]:
    """The strengths to try of a defence's option: a key, as `defense.noise.sigma`, to its values, the weakest first.

    What the option itself says counts, else what those say that it inherits, the last first; empty where none does.
    """
    settings = options.read(CONF, "defense", option)
    inherited = [
        name for name in settings.pop("defaults", []) if isinstance(name, str) and name not in ("_self_", option)
    ]
    grids = {name: node.get("grid") for name, node in settings.items() if isinstance(node, Mapping)}
    told = {f"defense.{name}.{key}": values for name, node in grids.items() if isinstance(node, Mapping)
            for key, values in node.items()}  # fmt: skip
    return told or next((found for name in reversed(inherited) if (found := grid(name))), {})


def _explain(word: str, error: Exception, good: Sequence[str]) -> str:
    """One line for an override that Hydra refused: the key, what is wrong, and the nearest name."""
    if isinstance(error, UserError):
        return error.problems[0]
    key, value = overrides.key_of(word), overrides.value_of(word)
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    folder = CONF / key.split("@")[0]
    if folder.is_dir():
        known = options.names(CONF, folder.name)
        unknown = [option for option in options.listed(value) if option not in known]
        if any(".." in option for option in unknown):
            return _path(key, value)
        if unknown:
            return f"{key}: no option {', '.join(map(repr, unknown))}; {nearest(unknown[0], known)}"
        return f"{key}: {first}"
    group, _, name = key.rpartition("@")[2].partition(".")
    name = name.partition(".")[0]
    present = _compose(good)
    if group in LISTS and name and name not in present[group] and not word.startswith("+"):
        word = {"defense": "the chain has", "attack": "the run has"}.get(group, "there is")
        return f"{key}: {word} no {name}; list it, as in {group}=[{','.join([*present[group], name])}], or drop this"
    known = [k for k in flatten(present) if not k.startswith("choices.")]
    groups = [p.name for p in CONF.iterdir() if p.is_dir()]
    if key not in known and not word.startswith("+"):
        return f"{key}: no such key here; {nearest(key, known + groups)}"
    if isinstance(error, RecursionError) or "nterpolation to parent" in first:
        return f"{key}: {value} points to what it is part of; give a value, or point to a single one"
    return f"{key}: {first}"


def _path(key: str, value: str) -> str:
    group = key.partition("@")[0]
    own = f"your own lie in the conf/{group}/ of a plug-in: plugins=[FOLDER]"
    return f"{key}: {value} is a path; options are called by name, and {own}"


def nearest(name: str, names: Sequence[str]) -> str:
    """What to suggest beside a wrong name: near ones, else all if they are few."""
    close = difflib.get_close_matches(name, list(dict.fromkeys(names)), n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(sorted(names))}" if len(names) <= 40 else "see conf/ for what exists"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
