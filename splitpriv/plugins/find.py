"""From the name of a plug-in to where it lies; nothing is imported yet."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path

from splitpriv.types import UserError, typed

GROUP, VARIABLE = "splitpriv.plugins", "SPLITPRIV_PLUGINS"
OURS = ("splitpriv", "conf", "tests")


@dataclass(frozen=True)
class Plugin:
    """A package, a folder or a file of one's own.

    `name`: of its module, with which its targets begin; `entry`: how any process finds it again, an installed
    package by name, what lies elsewhere by its absolute path; `conf`: the folder of its options; `told`: whether the
    command names it.
    """

    name: str
    entry: str
    root: Path
    conf: Path | None
    told: bool = True

    def sources(self) -> list[Path]:
        """Its Python files, sorted; those of hidden folders and of virtual environments within are not its own."""
        if self.root.is_file():
            return [self.root]
        alien = {path.parent for path in self.root.rglob("pyvenv.cfg")}
        return sorted(
            path for path in self.root.rglob("*.py")
            if not any(part.startswith(".") for part in path.relative_to(self.root).parts)
            and not alien & {*path.parents}
        )  # fmt: skip


def named(words: Sequence[str]) -> list[Plugin]:
    """What the command's `words` name, then SPLITPRIV_PLUGINS and what is installed; each once.

    Raise UserError for what is not there.
    """
    told = [find(word) for word in words]
    always = [find(word.strip(), VARIABLE) for word in os.environ.get(VARIABLE, "").split(",") if word.strip()]
    once: dict[Path, Plugin] = {}
    for plugin in (*told, *always, *(find(name, f"plugins: the entry point of {dist}") for name, dist in _installed())):
        once.setdefault(plugin.root, plugin)
    return list(once.values())


@functools.cache
def _installed() -> tuple[tuple[str, str], ...]:
    """(module, distribution) of every entry point."""
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name)
    return tuple((point.module, point.dist.name if point.dist else point.name) for point in points)


def find(word: str, where: str = "plugins") -> Plugin:
    """The plug-in that a word names: a path, an installed package, else what lies here under that name."""
    path = typed(word, where)
    if os.sep in word or word.endswith(".py"):
        plugin = _at(path, where)
    elif spec := _spec(word, where):
        plugin = _package(word, spec, where)
    elif path.is_dir() or path.with_suffix(".py").is_file():
        plugin = _at(path if path.is_dir() else path.with_suffix(".py"), where)
    else:
        raise UserError(
            f"{where}: {word!r} is neither installed nor a file or folder here; install it, or give its path"
        )
    top = plugin.name.partition(".")[0]
    if top in OURS or top in sys.stdlib_module_names:
        raise UserError(f"{where}: {word} is called {top} like a part of {'splitpriv' if top in OURS else 'Python'}; "
                        "give it a name of its own")  # fmt: skip
    return Plugin(plugin.name, plugin.entry, plugin.root, plugin.conf, told=where == "plugins")


def _at(path: Path, where: str) -> Plugin:
    """A file, or a folder, with or without an __init__.py; a file's options lie in conf/ beside it."""
    root = path.absolute().resolve()
    if not root.exists():
        raise UserError(f"{where}: there is no file or folder {path}; correct the path")
    if root.is_file() and root.suffix != ".py":
        raise UserError(f"{where}: {path} is no Python file; name a .py file, a folder or a package")
    if root.name == "__init__.py":
        root = root.parent
    name = root.stem if root.is_file() else root.name
    if not name.isidentifier():
        better = "".join(c if c.isalnum() else "_" for c in name).lstrip("0123456789") or "mine"
        raise UserError(f"{where}: {name!r} is no name that Python can import; call it for example {better}")
    if root.is_dir() and not any(root.glob("**/*.py")) and not (root / "conf").is_dir():
        raise UserError(f"{where}: {path} holds no Python file and no conf/; name the folder that does")
    spec = _spec(name, where)
    origin = _origin(spec) if spec and spec.origin else None  # any folder can be imported, and is no module yet
    if name not in sys.stdlib_module_names and name not in OURS and origin not in (None, root):
        raise UserError(f"{where}: {path} is called like {origin}, which is installed and would be hidden; rename it")
    return Plugin(name, str(root), root, _conf(root.parent if root.is_file() else root))


def _package(name: str, spec: ModuleSpec, where: str) -> Plugin:
    """What Python imports under this name; from the folder we are in, other processes need its path."""
    root = _origin(spec)
    if root is None:
        raise UserError(f"{where}: {name} is built into Python, or compiled; name a package, a folder or a .py file")
    if root.parent == Path.cwd().resolve():
        return _at(root, where)
    return Plugin(name, name, root, _conf(root) if root.is_dir() else None)


def _conf(folder: Path) -> Path | None:
    return folder / "conf" if (folder / "conf").is_dir() else None


def _spec(name: str, where: str) -> ModuleSpec | None:
    """What Python would import, whether or not something of this name is imported already."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    if "." in name:
        try:
            return importlib.util.find_spec(name)  # imports the package around it
        except Exception as error:
            raise UserError(f"{where}: {name} cannot be found ({type(error).__name__}: {error}); correct it") from error
    return next((spec for finder in sys.meta_path if not str(finder.__module__).startswith("splitpriv.")
                 and (spec := finder.find_spec(name, None))), None)  # fmt: skip


def _origin(spec: ModuleSpec | None) -> Path | None:
    """The folder of a package, or the file of a module."""
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin and spec.origin.endswith(".py") else None
