"""`splitpriv plugin`: what plug-ins bring, and whether each of their options keeps what ours do."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv import config, plain, plugins
from splitpriv.plugins.find import VARIABLE
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.plugins import Plugin


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    plugin = commands.add_parser("plugin", help="list what your own packages bring, or test them")
    plugin.add_argument("action", choices=["list", "test"])
    plugin.add_argument(
        "overrides", nargs="*", metavar="NAME", help="a package, folder or file; by default those that are always there"
    )
    plugin.add_argument("--only", default="", metavar="GROUP/NAME,…", help="test: only these options")


def run(args: argparse.Namespace) -> int:
    """List, or test; 1 where an option does not keep what it must."""
    words = [word for word in args.overrides if "=" in word]
    names = [word for word in args.overrides if "=" not in word]
    told = [*words, *([f"plugins=[{','.join(map(_quoted, names))}]"] if names else [])]
    config.with_plugins(told)
    named = [plugin for plugin in plugins.active() if plugin.told or not told]
    if not named:
        raise UserError(f"plugin {args.action}: names none, and none is always there; write splitpriv plugin "
                        f"{args.action} my_package, or set {VARIABLE}")  # fmt: skip
    plugins.load()
    with _always(plugins.active()):
        return listed(named) if args.action == "list" else test(named, [o for o in args.only.split(",") if o])


def listed(named: list[Plugin]) -> int:
    """Print every plug-in with its options."""
    for plugin in named:
        print(plain.line(f"{plugin.name}  {plugin.root}"))
        for group, option in options(plugin):
            path = Path(str(plugin.conf)) / group / f"{option}.yaml"
            lines = [
                line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")
            ]
            print(plain.line(f"  {group}={option:16} {lines[0].lstrip('# ') if lines else ''}"))
        if not options(plugin):
            print("  no options; its classes can be targets")
    return 0


def test(named: list[Plugin], only: list[str]) -> int:
    """Run all checks of the options of plug-ins; each that is not kept is a line, with why."""
    from splitpriv.contract import examine

    there = [pair for plugin in named for pair in options(plugin)]
    names = ["/".join(pair) for pair in there]
    if wrong := [name for name in only if name not in names]:
        raise UserError(*(f"--only {name}: is not brought; {config.nearest(name, names)}" for name in wrong))
    if not there:
        raise UserError(f"plugin test: {named[0].name} brings no options; put them into conf/GROUP/NAME.yaml beside it")
    count = {"ok": 0, "broken": 0, "left": 0}
    for result in examine([pair for pair in there if not only or "/".join(pair) in only]):
        count[result.state] += 1
        why = f": {result.why}" if result.why else ""
        print(plain.line(f"{result.state:7} {result.group}={result.option}: {result.check}{why}"), flush=True)
    left = f", {count['left']} left out" if count["left"] else ""
    print(f"{count['ok']} kept, {count['broken']} broken{left}")
    return int(bool(count["broken"]))


def options(plugin: Plugin) -> list[tuple[str, str]]:
    """The options that a plug-in brings, as (group, name)."""
    found = sorted(plugin.conf.glob("*/*.yaml")) if plugin.conf else []
    return [(path.parent.name, path.stem) for path in found if path.parent.name != "hydra"]


def _quoted(name: str) -> str:
    return name if all(c.isalnum() or c in "._-/~+@" for c in name) else "'" + name.replace("'", "\\'") + "'"


@contextlib.contextmanager
def _always(active: tuple[Plugin, ...]) -> Iterator[None]:
    """Let all that is composed within the block, here and in other processes, know these plug-ins."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ",".join(plugin.entry for plugin in active)
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before
