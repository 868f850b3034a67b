"""`splitpriv completion`, and what a shell proposes: commands, their options, config groups and their options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

SHELLS = {
    "bash": 'eval "$(splitpriv completion bash)"    # in ~/.bashrc',
    "zsh": 'autoload -U compinit && compinit; eval "$(splitpriv completion zsh)"    # in ~/.zshrc',
    "fish": "splitpriv completion fish | source    # in ~/.config/fish/config.fish",
}


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    lines = "\n".join(f"  {line}" for line in SHELLS.values())
    command = commands.add_parser(
        "completion", help="print what makes a shell complete splitpriv's words",
        epilog=f"to use it:\n{lines}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("shell", choices=list(SHELLS))
    command.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    """Print the code for a shell."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["splitpriv"], shell=args.shell))
    return 0


def answer(top: argparse.ArgumentParser) -> None:
    """Where a shell asks, say what it may propose, and leave; else nothing is imported."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete

    for parser in _parsers(top):
        for action in parser._actions:
            if action.dest == "overrides":
                action.completer = proposed  # type: ignore[attr-defined]
    argcomplete.autocomplete(top, always_complete_options=False)


def _parsers(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def proposed(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Words that may continue an override: groups, their options, and the settings of those."""
    command = getattr(parsed_args, "command", "run")
    return list(words(prefix, command))


def words(prefix: str, command: str = "run") -> Iterator[str]:
    """The same; of a study its options, of a command that makes nothing where its store lies."""
    from splitpriv import config, options
    from splitpriv.studies import STUDIES

    if command in STUDIES:
        yield from options.names(config.CONF, command)
    yield from ("paths.outputs=", "paths.data=")
    if command not in ("run", "check", "track", "data", "table"):
        return
    sign = prefix[: len(prefix) - len(prefix.lstrip("+~"))]
    key, equals, value = prefix[len(sign) :].partition("=")
    groups = sorted(path.name for path in config.CONF.iterdir() if path.is_dir())
    if equals:
        listed = key in config.LISTS
        before = value[: max(value.rfind("["), value.rfind(",")) + 1] or ("[" if listed else "")
        if key in groups:
            yield from (f"{sign}{key}={before}{name}" for name in options.names(config.CONF, key))
    elif "." in key:
        group = key.partition(".")[0]
        if group in groups:
            yield from (f"{sign}{key}=" for key in sorted(_settings(group)))
    else:
        studies = {*STUDIES, "table", "decoder", "leaks", "tabular"}
        yield from (f"{sign}{group}=" for group in groups if group not in studies)
        yield from ("seed=", "attack_seed=", "split.at=", "plugins=", "objective=")


def _settings(group: str) -> set[str]:
    """The dotted keys of the settings of every option of a group."""
    from splitpriv import config
    from splitpriv.config import flatten
    from splitpriv.measure.remedies import load

    found: set[str] = set()
    for path in (config.CONF / group).glob("*.yaml"):
        tree = load(group, path.stem)
        start = f"{group}.{path.stem}." if group == "attack" else f"{group}."
        found |= {start + key for key in flatten(tree) if not key.endswith("_target_")}
    return found
