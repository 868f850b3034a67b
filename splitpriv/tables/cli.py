"""`splitpriv table`: list, plan, run, show and diff the tables of papers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv import plain
from splitpriv.types import UserError

if TYPE_CHECKING:
    import argparse

    from splitpriv.store import Store
    from splitpriv.tables.cells import Cell, Extra
    from splitpriv.tables.spec import Table

APART = ("paths.", "plugins=")  # overrides that say where things are: the table is whole with them
ACTIONS = ("list", "plan", "run", "show", "diff")


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    table = commands.add_parser("table", help="plan, complete and compare the tables of papers")
    table.add_argument("action", choices=ACTIONS)
    table.add_argument("name", nargs="?", help="a table, as `splitpriv table list` shows them")
    scales = "smoke: minutes on 2 cores; lite: hours, real data; fast: working networks; full: the paper's"
    table.add_argument("--scale", choices=["smoke", "lite", "fast", "full"], default="smoke", help=scales)
    table.add_argument("--rows", default="", metavar="A,B", help="only these rows; patterns such as '*CEM' work")
    table.add_argument("--plays", default="", metavar="A,B", help="only these plays, such as strict")
    table.add_argument("--format", choices=["terminal", "markdown", "latex", "csv", "html"], default="terminal")
    table.add_argument("--interval", choices=["t", "percentile", "bca"], default="t", help="Student's t or a bootstrap")
    table.add_argument("--out", type=Path, help="file that show or diff writes to")
    table.add_argument("--no-estimate", action="store_true", help="plan without timing any step")
    extra = "for every cell; seed=0,1 replaces the scale's seeds; hydra/launcher=joblib runs in parallel"
    table.add_argument("overrides", nargs="*", metavar="key=value", help=extra)


def table(args: argparse.Namespace) -> int:
    """Run one action; raise UserError for a table, row or scale that does not exist."""
    from splitpriv import config
    from splitpriv.tables import shipped

    if args.name and "=" in args.name:
        args.overrides, args.name = [args.name, *args.overrides], None
    config.with_plugins(args.overrides)
    if args.action == "list":
        for name in shipped.names():
            published = shipped.load(name)
            print(f"{name:18} {published.title} ({', '.join(published.scales)})")
        return 0
    if args.name is None:
        raise UserError(f"table {args.action}: name a table; there are {', '.join(shipped.names())}")
    return int({"plan": _plan, "run": _run, "show": _show, "diff": _diff}[args.action](args))


def _open(args: argparse.Namespace) -> tuple[Table, list[Cell], Store, Extra]:
    """The table, its cells with their states, and the store."""
    from splitpriv import config
    from splitpriv.store import Store
    from splitpriv.tables import cells, shipped

    published = shipped.load(args.name)
    extra = cells.Extra.of(args.overrides)
    wanted = [name for name in args.rows.split(",") if name]
    store = Store(config.compose([o for o in extra.overrides if o.startswith(APART)])["paths"]["outputs"])
    listed = cells.expand(published, args.scale, extra, wanted)
    plays = [name for name in args.plays.split(",") if name]
    if unknown := sorted(set(plays) - set(published.plays)):
        raise UserError(f"--plays: no play {', '.join(unknown)}; {args.name} has {', '.join(published.plays)}")
    listed = [cell for cell in listed if not plays or cell.play in plays]
    cells.inspect(listed, store)
    extra.require_sense(listed)
    return published, listed, store, extra


def _plan(args: argparse.Namespace) -> int:
    """Print the state of every cell and what the missing ones will cost."""
    from rich.markup import escape
    from rich.table import Table as Grid

    from splitpriv.report.terminal import COLOURS as STATES
    from splitpriv.report.terminal import console
    from splitpriv.tables import estimate
    from splitpriv.tables.timer import Timer

    published, listed, store, _ = _open(args)
    seconds: dict[tuple[str, str], float | None] = {}
    total, unknown = 0.0, 0
    if not args.no_estimate:
        seconds, total, unknown = estimate.estimate(
            listed, Timer(store, lambda text: print(text, file=sys.stderr)), store)  # fmt: skip
    grid = Grid(title=escape(f"{published.title} · {args.scale}"), title_justify="left", pad_edge=False)
    for head in ("row", "play", "cells", *(["estimate"] if seconds else [])):
        grid.add_column(head, overflow="fold")
    places: dict[tuple[str, str], list[Cell]] = {}
    for cell in listed:
        places.setdefault((cell.row, cell.play), []).append(cell)
    for (row, play), group in places.items():
        counts = {state: sum(c.state == state for c in group) for state in dict.fromkeys(c.state for c in group)}
        told = " · ".join(f"[{STATES.get(s, 'magenta')}]{s}[/] {n}" for s, n in counts.items())
        why = dict.fromkeys(p.splitlines()[-1] for c in group for p in c.problems)
        told += "".join(f"\n[dim]{escape(text)}[/]" for text in why)
        cost = [estimate.spoken(seconds[row, play]) if (row, play) in seconds else ""] if seconds else []
        grid.add_row(escape(row), play, told, *cost)
    console().print(grid)
    todo = sum(cell.state in ("missing", "partial", "failed") for cell in listed)
    cached = sum(cell.state == "cached" for cell in listed)
    print(f"{len(listed)} cells: {cached} cached, {todo} to run, {len(listed) - todo - cached} that cannot run here")
    if not args.no_estimate and todo:
        rest = f", without {unknown} cells whose time is unknown" if unknown else ""
        spoken = estimate.spoken(total) if unknown < todo else "unknown"
        half = f", about {estimate.spoken(total / 2)} on two cores (hydra/launcher=joblib)" if unknown < todo else ""
        print(f"estimate: {spoken} one after the other on this machine{half}{rest}; as their like took in this store, "
              "else from a few timed steps, proportional to images and epochs; scoring is left out. For the "
              "hours of a GPU call it on a machine that has one")  # fmt: skip
    return 0


def _run(args: argparse.Namespace) -> int:
    """Complete what is missing; failed cells are tried again."""
    from splitpriv.tables import cells, launch

    _, listed, store, extra = _open(args)
    todo = list({cell.key: cell for cell in listed if cell.state in cells.OPEN}.values())
    cached = sum(cell.state == "cached" for cell in listed)
    print(f"{len(listed)} cells: {cached} cached, {len(todo)} to run")
    for cell in listed:
        if cell.state in ("unsupported", "refused"):
            print(f"left out: {cell.row} ({cell.play}, seed {cell.seed}): {cell.problems[0]}", file=sys.stderr)
    refused = any(cell.state == "refused" for cell in listed)
    problems = launch.launch(todo, extra.hydra, store, args.name, args.scale) if todo else []
    for problem in problems:
        print(f"splitpriv: {problem}", file=sys.stderr)
    return 2 if problems or refused else 0


def _gathered(args: argparse.Namespace) -> Any:
    from splitpriv.tables import cells, results

    published, listed, store, _ = _open(args)
    return results.gather(published, listed, cells.rows_of(listed, store), args.interval)


def _show(args: argparse.Namespace) -> int:
    """Print ours beside the printed numbers."""
    from splitpriv.store import write_atomic
    from splitpriv.tables import cells, results
    from splitpriv.tables.format_sheet import FORMATS
    from splitpriv.tables.sheet import Sheet

    published, listed, store, _ = _open(args)
    sheet = Sheet(results.gather(published, listed, cells.rows_of(listed, store), args.interval), args.scale)
    _write(FORMATS[args.format](sheet), args.out)
    if args.rows or args.plays or any(not o.startswith(APART) for o in args.overrides):
        return 0  # the dashboard shows whole tables, as they ship
    folder = store.root / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{args.name}-{args.scale}.json", plain.dumps(sheet.record(args.name)))
    return 0


def _diff(args: argparse.Namespace) -> int:
    """Print which printed claims hold here."""
    from splitpriv.tables import claims
    from splitpriv.tables.format_claims import FORMATS

    results = _gathered(args)
    title = f"{results.table.title} · {args.scale}"
    _write(FORMATS[args.format](title, claims.judge(results)), args.out)
    return 0


def _write(text: str, out: Path | None) -> None:
    if out is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"written: {out}")
