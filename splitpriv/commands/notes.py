"""`splitpriv note` and `splitpriv tag`."""

from __future__ import annotations

import argparse
from typing import Any

from splitpriv import plain
from splitpriv.types import UserError


def add(commands: Any) -> None:
    """Add the commands to the subparsers of `splitpriv`."""
    note = commands.add_parser("note", help="say something of a finished run, or read what was said")
    tag = commands.add_parser("tag", help="give a finished run tags, or take them away with --remove")
    for command, what in ((note, "text"), (tag, "word")):
        command.add_argument("key", help="key of the run, or its first letters")
        command.add_argument("overrides", nargs="*", metavar=what, help=f"{what}; or paths.outputs=…")
        command.add_argument("--remove", action="store_true", help="take it away")


def run(args: argparse.Namespace) -> int:
    """Write, remove or print the note or the tags of one run; without words they are printed."""
    from splitpriv import config
    from splitpriv.store import Store, notes

    places = [word for word in args.overrides if word.startswith("paths.")]
    words = [word for word in args.overrides if word not in places]
    store = Store(config.compose(places)["paths"]["outputs"])
    key = store.find(args.key)["key"]
    if args.command == "note":
        if args.remove and words:
            raise UserError("note: --remove takes no text; give one of them")
        said = notes.write(store, key, " ".join(words)) if words or args.remove else notes.of(store, key)
    elif words or not args.remove:
        said = notes.tag(store, key, words, args.remove) if words else notes.of(store, key)
    else:
        raise UserError("tag: --remove takes the words that go; name them")
    tags = f" [{', '.join(said.tags)}]" if said.tags else ""
    print(plain.inert(f"{key}{tags} {said.text}".rstrip()))
    return 0
