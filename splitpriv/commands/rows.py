"""`splitpriv rows`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from splitpriv import plain
from splitpriv.commands import arguments
from splitpriv.types import UserError


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    rows = commands.add_parser("rows", help="list finished runs, or means over their seeds")
    arguments.select(rows)
    rows.add_argument("--format", choices=["table", "csv", "json"], default="table")
    rows.add_argument("--by", metavar="KEY,…", help="one line for all rows that agree there: mean ± interval, and n")
    rows.add_argument("--columns", metavar="KEY,…", help="what to show, such as chain,seed,utility/accuracy")
    rows.add_argument("--sort", metavar="KEY", help="order by it, smallest first")
    rows.add_argument("--reverse", action="store_true", help="with --sort: largest first")
    arguments.places(rows)


def run(args: argparse.Namespace) -> int:
    """Print finished runs as a table, CSV or JSON."""
    from splitpriv.report import columns, csv, listing

    if args.reverse and not args.sort:
        raise UserError("--reverse: turns an order; add --sort KEY")
    selection = arguments.chosen(args)
    rows = selection.rows()
    by, keys = _keys(args.by, "--by"), _keys(args.columns, "--columns")
    for option, named in (("--by", by), ("--columns", keys), ("--sort", [args.sort] if args.sort else [])):
        columns.known(rows, named, option)
    if args.sort:
        rows = columns.ordered(rows, args.sort, args.reverse)
    if args.format == "table":
        if not rows:
            told = " fits; loosen --where" if args.where or args.sweep else "; make one with: splitpriv run"
            print(plain.line(f"no finished run under {selection.store.root}{told}"))
        elif by:
            from splitpriv.report import groups

            groups.print_groups(rows, by, keys or listing.headlines(rows))
        elif keys:
            listing.print_chosen(rows, keys)
        else:
            listing.print_rows(rows)
        return 0
    if by:
        from splitpriv.report import groups

        rows = groups.records(groups.groups(rows, by), by, keys or listing.headlines(rows))
    elif keys:
        rows = [{key: row.get(key) for key in keys} for row in rows]
    if args.format == "json":
        print(json.dumps([plain.finite(row) for row in rows], indent=1, allow_nan=False))
    else:
        csv.print_csv(rows)
    return 0


def _keys(words: str | None, option: str) -> list[str]:
    keys = [word.strip() for word in (words or "").split(",") if word.strip()]
    if words is not None and not keys:
        raise UserError(f"{option}: names no key of a row; write for example {option} chain,dataset")
    return keys
