"""`splitpriv rows`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from splitpriv import plain
from splitpriv.commands import arguments


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    rows = commands.add_parser("rows", help="list finished runs")
    arguments.select(rows)
    rows.add_argument("--format", choices=["table", "csv", "json"], default="table")
    arguments.places(rows)


def run(args: argparse.Namespace) -> int:
    """Print finished runs as a table, CSV or JSON."""
    from splitpriv.report import csv, terminal

    selection = arguments.chosen(args)
    rows, store = selection.rows(), selection.store
    if args.format == "json":
        print(json.dumps([plain.finite(row) for row in rows], indent=1, allow_nan=False))
    elif args.format == "csv":
        csv.print_csv(rows)
    else:
        terminal.print_rows(rows, store)
    return 0
