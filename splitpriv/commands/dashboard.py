"""`splitpriv dashboard`."""

from __future__ import annotations

import argparse
import errno
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv.commands import arguments
from splitpriv.heap import growing
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.report.select import Selection

PORT = 8765


def add(commands: Any) -> None:
    """Add the command to the subparsers of `splitpriv`."""
    page = commands.add_parser("dashboard", help="every finished run in one HTML file, or served while a sweep runs")
    arguments.select(page)
    page.add_argument("--out", type=Path, help="file to write (default: <paths.outputs>/dashboard.html)")
    page.add_argument("--serve", action="store_true", help="serve on 127.0.0.1 and refresh while runs finish")
    page.add_argument("--port", type=int, default=PORT, help=f"port of --serve (default: {PORT}; 0: any free one)")
    arguments.places(page)


def run(args: argparse.Namespace) -> int:
    """Write the page of finished runs and rendered tables, or serve it."""
    if find_spec("jinja2") is None:
        raise UserError("dashboard: needs jinja2; install it with: pip install 'splitpriv[dashboard]'")
    if args.serve and args.out:
        raise UserError("dashboard: --serve writes no file; leave out --serve or --out")

    selection = arguments.chosen(args)
    return _serve(args.port, selection) if args.serve else _write(args, selection)


@growing()
def _write(args: argparse.Namespace, selection: Selection) -> int:
    from splitpriv.dashboard import build
    from splitpriv.store import write_atomic

    store = selection.store
    begun = any(path.is_dir() for path in store.root.glob("*"))  # there are stages or tables to be told of
    rows = selection.rows() if begun and not args.where else selection.some("dashboard")
    out = args.out or store.root / "dashboard.html"
    text = build.page(*build.whole(rows, store, selection.tables()))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, text)
    print(f"dashboard: {out} ({len(rows)} runs, {len(text.encode()) / 1e6:.1f} MB)")
    return 0


def _serve(port: int, selection: Selection) -> int:
    from splitpriv.dashboard import serve

    if not 0 <= port <= 65535:
        raise UserError(f"dashboard --port: {port} is no port; choose 0 to 65535")
    try:
        server = serve.serve(selection, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise UserError(f"dashboard --port: {port}: {error.strerror}; choose another, or 0 for any free one") from error
    serve.forever(server)
    return 0
