"""From overrides to the config of one run, by Hydra; what it refuses is explained. Imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitpriv.types import UserError

Config = dict[str, Any]

CONF = next(p for p in (Path(__file__).parent / "conf", Path(__file__).parents[1] / "conf") if p.is_dir())
MISSING = "???"  # OmegaConf's mark of a value that the user must give
SINGLE = ("dataset", "backbone", "task", "optim", "protocol", "knowledge", "measure", "runtime")  # one target each
LISTS = ("defense", "attack", "track")  # groups of named targets


class RefusedError(UserError):
    """Overrides that Hydra refused; `rest` is the config of the others."""

    def __init__(self, *problems: str, rest: Config) -> None:
        super().__init__(*problems)
        self.rest = rest


def compose(overrides: Sequence[str]) -> Config:
    """The resolved config of one run, with `choices` (group -> option) inside; raise RefusedError with all problems."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return _compose(overrides)
    except (HydraException, OmegaConfBaseException, ValueError):  # ValueError: a group set to null
        pass
    # Something is wrong: add the overrides one by one, groups before the keys inside them, and explain each refusal.
    good: list[str] = []
    problems: list[str] = []
    for override in sorted(overrides, key=lambda o: "." in o.split("=")[0]):
        try:
            _compose([*good, override])
            good.append(override)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            problems.append(_explain(override, error, good))
    raise RefusedError(*problems, rest=_compose(good))


def _compose(overrides: Sequence[str]) -> Config:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name="splitpriv"):
        composed = hydra.compose("config", list(overrides), return_hydra_config=True)
    return resolve(composed, composed.hydra.runtime.choices)


def resolve(composed: Any, choices: Mapping[str, Any]) -> Config:
    """Plain dictionaries from what Hydra composed; paths become absolute, so that workers agree on them."""
    from omegaconf import OmegaConf

    plain = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
    cfg: Config = OmegaConf.to_container(plain, resolve=True)  # type: ignore[assignment]
    for name in (*LISTS, "monitor"):
        cfg.setdefault(name, {})  # an empty list of options leaves no trace
    cfg["paths"] = {name: _absolute(path, f"paths.{name}") for name, path in (cfg.get("paths") or {}).items()}
    cfg["choices"] = {k: str(v) for k, v in choices.items() if not k.startswith("hydra/") and "@" not in k}
    return cfg


def _absolute(path: Any, where: str) -> str:
    if path is None:
        raise UserError(f"{where}: has no value; give a folder, or leave it out")
    return str(Path(str(path)).expanduser().absolute())


def _explain(override: str, error: Exception, good: Sequence[str]) -> str:
    """One line for an override that Hydra refused: the key, what is wrong, and the nearest name."""
    key, _, value = override.lstrip("+~").partition("=")
    group = CONF / key.split("@")[0]
    if group.is_dir():
        options = sorted(p.stem for p in group.glob("*.yaml"))
        unknown = [v for v in value.strip("[]").replace("'", "").split(",") if v.strip() and v.strip() not in options]
        if unknown:
            return f"{key}: no option {', '.join(map(repr, unknown))}; {nearest(unknown[0], options)}"
        return f"{key}: {str(error).strip().splitlines()[0]}"
    known = [k for k in flatten(_compose(good)) if not k.startswith("choices.")]
    groups = [p.name for p in CONF.iterdir() if p.is_dir()]
    if "=" not in override:
        return f"{override}: an override reads key=value; {nearest(key, known + groups)}"
    if key not in known and not override.startswith("+"):
        return f"{key}: no such key here; {nearest(key, known + groups)}"
    return f"{key}: {str(error).strip().splitlines()[0]}"


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
