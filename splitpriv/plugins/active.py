"""The plug-ins of the run at hand: what may be imported, and from which source it was."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from splitpriv.plugins import listing
from splitpriv.plugins.find import Plugin, find
from splitpriv.types import UserError

_active: tuple[Plugin, ...] = ()
_loaded: dict[str, tuple[Path, str]] = {}  # name -> (root, digest) of what was imported
_named: dict[str, Plugin] = {}  # every plug-in that this process was told of, the last of a name
_fresh: set[str] = set()  # names of those whose import was held against the disk since they were last named


def active() -> tuple[Plugin, ...]:
    """The plug-ins of the run at hand."""
    return _active


def use(plugins: Iterable[Plugin | str]) -> tuple[Plugin, ...]:
    """Let these plug-ins, or those with these entries, and no others, be the active ones."""
    global _active
    if isinstance(plugins, str) or not isinstance(plugins, Iterable):
        raise UserError(f"plugins: {plugins!r} is no list; write for example plugins=[my_package]")
    listed = tuple(plugins)
    if wrong := [p for p in listed if not isinstance(p, str | Plugin)]:
        raise UserError(f"plugins: {wrong[0]!r} is no name; write for example plugins=[my_package]")
    found = tuple(find(p) if isinstance(p, str) else p for p in listed)
    for i, plugin in enumerate(found):
        for other in found[:i]:
            if plugin.name == other.name:
                raise UserError(f"plugins: {other.root} and {plugin.root} are both called {plugin.name}; rename one")
    _active = found
    _named.update((plugin.name, plugin) for plugin in found)
    _fresh.clear()
    return found


def again(targets: Iterable[str]) -> list[str]:
    """Let what this process was told of before and what `targets` need be active, too; the entries of all that are."""
    wanted = [p for p in _named.values() if any(target.startswith(f"{p.name}.") for target in targets)]
    return [plugin.entry for plugin in use(dict.fromkeys((*_active, *wanted)))]


def folders() -> tuple[Path, ...]:
    """The conf/ of each active plug-in that has one."""
    return tuple(dict.fromkeys(plugin.conf for plugin in _active if plugin.conf))


def require_apart(conf: Path) -> None:
    """Raise UserError where options of the active plug-ins cannot be told from ours, or from one another's."""
    listing.require_apart(conf, folders())


def require_used(values: Iterable[Any]) -> None:
    """Raise UserError for a plug-in that the command names, without options and without a class among `values`."""
    texts = [value for value in values if isinstance(value, str)]
    idle = [p for p in _active if p.told and not p.conf
            and not any(re.match(rf"{re.escape(p.name)}[.:]", text) for text in texts)]  # fmt: skip
    for plugin in idle:
        _load(plugin)  # what is wrong with it comes first
    if idle:
        raise UserError(*(
            f"plugins: {p.name} brings no options, and nothing here names a class of it; its options lie in "
            f"{(p.root.parent if p.root.is_file() else p.root) / 'conf'}/GROUP/NAME.yaml" for p in idle
        ))  # fmt: skip


def of(dotted: str) -> Plugin | None:
    """The active plug-in that something dotted is of."""
    return next((plugin for plugin in _active if f"{dotted}.".startswith(f"{plugin.name}.")), None)


def load() -> None:
    """Import all active plug-ins; raise UserError with what fails."""
    problems: list[str] = []
    for plugin in _active:
        try:
            _load(plugin)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)


def member(target: str, where: str) -> Any:
    """What a target of an active plug-in names; raise UserError where it cannot be imported."""
    plugin = of(target)
    assert plugin is not None
    _load(plugin)
    module, _, name = target.rpartition(".")
    try:
        with _from_source():
            return getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:
        lost = isinstance(error, ModuleNotFoundError | AttributeError) and not _line(error, plugin)
        raise UserError(
            f"{where}._target_: {plugin.name} has no {target.removeprefix(f'{plugin.name}.')}; correct the dotted path"
            if lost else f"{where}._target_: {_failed(error, plugin)}"
        ) from error  # fmt: skip


def digest(name: str) -> str | None:
    """SHA-256 of the source that a module of this name was imported from; None where it is of no active plug-in."""
    plugin = of(name)
    if plugin is None:
        return None
    _load(plugin)
    return _loaded[plugin.name][1]


@contextlib.contextmanager
def _from_source() -> Iterator[None]:
    """Imports that leave no bytecode: Python would take it for that of a file rewritten within the same second."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _load(plugin: Plugin) -> None:
    """Import a plug-in, and once more where its source has changed since."""
    if plugin.name in _fresh:
        return
    global _active
    now = plugin.root, _digest(plugin)
    others = _active
    if _loaded.get(plugin.name) != now or plugin.name not in sys.modules:
        if plugin.name in _loaded:
            for module in [m for m in sys.modules if f"{m}.".startswith(f"{plugin.name}.")]:
                del sys.modules[module]
        importlib.invalidate_caches()
        if _Finder not in sys.meta_path:
            sys.meta_path.append(_Finder)
        try:
            with _from_source():
                importlib.import_module(plugin.name)
        except (Exception, SystemExit) as error:
            sys.modules.pop(plugin.name, None)
            raise UserError(f"plugins: {_failed(error, plugin)}") from error
        finally:
            _active = others  # whatever it did while it was imported
    _loaded[plugin.name] = now
    _fresh.add(plugin.name)


class _Finder:
    """Where active plug-ins that are not installed are imported from: by name, whoever asks, in any order."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        root = next((p.root for p in _active if p.name == name and p.entry != name), None)
        if root is None:
            return None
        if root.is_file():
            return importlib.util.spec_from_file_location(name, root)
        if (root / "__init__.py").is_file():
            places = [str(root)]
            return importlib.util.spec_from_file_location(name, root / "__init__.py", submodule_search_locations=places)
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(root)]
        return spec


def _failed(error: BaseException, plugin: Plugin) -> str:
    """One line on why a plug-in cannot be imported, and where in it."""
    text = (error.msg if isinstance(error, SyntaxError) else str(error)) or ""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    told = f"{type(error).__name__}: {first}"
    remedy = "correct it"
    if isinstance(error, ModuleNotFoundError) and error.name and not f"{error.name}.".startswith(f"{plugin.name}."):
        remedy = f"install {error.name.partition('.')[0]}"
    return f"{plugin.name} cannot be imported ({told}{_line(error, plugin)}); {remedy}"


def raised(error: BaseException) -> list[str]:
    """What a line of an active plug-in raised, or led to, as one problem that names it; empty of any other error."""
    for plugin in _active:
        if line := _line(error, plugin):
            told = next((text.strip() for text in str(error).splitlines() if text.strip()), "")
            return [f"plugins: {plugin.name}: {type(error).__name__}{f': {told}' if told else ''}{line}; correct it"]
    return []


def _line(error: BaseException, plugin: Plugin) -> str:
    """The innermost line of a plug-in that led to an error, as ` at file:line`; empty where none of its lines did."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}:{error.lineno}"
    own = {str(path) for path in plugin.sources()}
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if str(Path(frame.filename).resolve()) in own]
    return f" at {lines[-1].filename}:{lines[-1].lineno}" if lines else ""


def _digest(plugin: Plugin) -> str:
    """SHA-256 over the names and the text of a plug-in's Python files."""
    whole = hashlib.sha256()
    base = plugin.root.parent
    for path in plugin.sources():
        try:
            whole.update(f"{path.relative_to(base)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        except OSError as error:
            raise UserError(f"plugins: {path} cannot be read ({error.strerror}); mend it, or remove it") from error
    return whole.hexdigest()
