"""The options that plug-ins bring, each in a file conf/<group>/<option>.yaml."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import yaml

from splitpriv.types import UserError


def files(conf: Path, group: str, more: Sequence[Path] = ()) -> dict[str, Path]:
    """The options of a group by name: those of `conf`, then those of the folders `more`."""
    return {path.stem: path for folder in (conf, *more) for path in sorted((folder / group).glob("*.yaml"))}


def file(conf: Path, group: str, option: str, more: Sequence[Path] = ()) -> Path | None:
    """The file of an option, or None."""
    return next((p for folder in (conf, *more) if (p := folder / group / f"{option}.yaml").is_file()), None)


def problems(conf: Path, folder: Path) -> list[str]:
    """What is wrong with the options that `folder` brings beside ours of `conf`, as far as it shows without Hydra."""
    wrong = [] if not (folder / "config.yaml").is_file() else [
        f"plugins: {folder / 'config.yaml'} would be a run of its own; leave it out, and give defaults as a setting"
    ]  # fmt: skip
    groups = sorted(path.name for path in conf.iterdir() if path.is_dir())
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))):
        if path.name not in (*groups, "hydra"):
            wrong.append(f"plugins: {path} is no group of options; there are {', '.join(groups)}")
        wrong += [f"plugins: {each} is not read; rename it to {each.stem}.yaml" for each in sorted(path.glob("*.yml"))]
        for each in sorted(path.glob("*.yaml")):
            if file(conf, path.name, each.stem):
                wrong.append(f"plugins: {each} is called like our own {path.name}={each.stem}; rename it")
            elif told := unreadable(each):
                wrong.append(told)
    return wrong


def unreadable(path: Path) -> str:
    """Why a file cannot be read as an option; empty where it can."""
    try:
        content = read(path, path.stat().st_mtime_ns)
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        return f"plugins: {path} is not YAML ({' '.join(str(error).split())}); correct it"
    return "" if isinstance(content, dict) else f"plugins: {path} holds no settings; write `key: value` in it"


@functools.lru_cache(maxsize=2048)
def read(path: Path, stamp: int) -> object:
    """What a YAML file says, read once as long as its `stamp` stays; of an empty one nothing."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def require_apart(conf: Path, folders: Sequence[Path]) -> None:
    """Raise UserError for what is wrong with the options of plug-ins, and for options that two of them bring."""
    wrong = [problem for folder in folders for problem in problems(conf, folder)]
    seen: dict[tuple[str, str], Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            other = seen.setdefault((path.parent.name, path.stem), path)
            if other != path:
                wrong.append(f"plugins: {other} and {path} are both {path.parent.name}={path.stem}; rename one of them")
    if wrong:
        raise UserError(*wrong)
