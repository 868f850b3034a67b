"""`splitpriv board`: the chains of each world in one table, and what others send in."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv.commands import arguments
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.store import Row, Store


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    top = commands.add_parser(
        "board", help="every chain of a world ranked, as a static site; submit an attack, a model"
    )
    board = top.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = board.add_parser("build", help="write the site: index.html, JSON, cards; it needs no network")
    build.add_argument("out", type=Path, metavar="DIR")
    build.set_defaults(makes="out")
    victims = board.add_parser("victims", help="what an attacker gets of a row: the releases of its frozen victims")
    victims.add_argument("row", help="key of a row, or its first letters")
    victims.add_argument("out", type=Path, metavar="FILE.safetensors")
    submit = board.add_parser("submit", help="what you found, scored by us; nobody's code is run")
    submit.add_argument("kind", choices=["attack", "model"], help="a file of reconstructions, or a pushed folder")
    submit.add_argument("what", type=Path, metavar="FILE|DIR")
    for name, text in (("name", "of the entry, as my_attack"), ("by", "who sends it"), ("source", "https://… of it")):
        submit.add_argument(f"--{name}", required=True, help=text)
    submit.set_defaults(makes="entries")
    for command in (build, victims, submit):
        command.add_argument("--rows", type=Path, nargs="+", default=[], metavar="FILE.jsonl",
                             help="files of rows, as in results/board (default: the store's rows)")  # fmt: skip
        command.add_argument("--entries", type=Path, default=Path("board"), metavar="DIR", help="default: board")
        arguments.places(command, *([] if command is build else arguments.REOPENED))


def run(args: argparse.Namespace) -> int:
    """Build the site, write releases, or take an entry in."""
    return {"build": _build, "victims": _victims, "submit": _submit}[args.action](args)


def _store(args: argparse.Namespace) -> Store:
    from splitpriv import config
    from splitpriv.store import Store

    return Store(config.compose([w for w in args.overrides if w.startswith("paths.")])["paths"]["outputs"])


def _rows(args: argparse.Namespace, store: Store) -> list[Row]:
    from splitpriv.board import kept

    return kept.read(args.rows) if args.rows else store.rows()


def _build(args: argparse.Namespace) -> int:
    if find_spec("jinja2") is None:
        raise UserError("board: needs jinja2; install it with: pip install 'splitpriv[dashboard]'")
    from splitpriv.board import entries, site

    store = _store(args)
    found = entries.read(args.entries)
    rows = list({row["key"]: row for row in (*_rows(args, store), *found.rows())}.values())
    if not rows:
        raise UserError(f"board: there is no row in {store.root}; run something, or name files with --rows")
    data = site.make(rows, store, args.rows[0].parent if args.rows else None, args.out, found)
    lines = sum(len(board["lines"]) for board in data["boards"])
    if not data["boards"]:
        raise UserError("board: no row was attacked by a suite; list one, as in attack=[autoinvert_quick]")
    print(f"board: {args.out / 'index.html'} ({len(data['boards'])} boards, {lines} settings of {len(rows)} rows)")
    return 0


def _victims(args: argparse.Namespace) -> int:
    from splitpriv.board import attack

    store = _store(args)
    count = attack.write_releases(attack.find(args.row, _rows(args, store)), store, args.out, args.overrides)
    print(f"board: {args.out} ({count} releases)")
    return 0


def _submit(args: argparse.Namespace) -> int:
    from splitpriv.board import attack, model

    store = _store(args)
    about = {"name": args.name, "by": args.by, "source": args.source}
    if args.kind == "attack":
        print(attack.submit(args.what, about, _rows(args, store), store, args.entries, args.overrides))
    else:
        print(model.submit(args.what, about, args.entries, args.overrides))
    return 0
