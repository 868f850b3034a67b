"""`splitpriv dashboard`: its arguments and its handler, for the command line to call."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitpriv.store import Row, Store, write_atomic
from splitpriv.types import UserError

if TYPE_CHECKING:
    import argparse

PORT = 8765


def add(commands: Any) -> argparse.ArgumentParser:
    """Add the command `dashboard` to what `ArgumentParser.add_subparsers` returned."""
    page = commands.add_parser("dashboard", help="every finished run in one HTML file, or served while a sweep runs")
    page.add_argument("--where", action="extend", nargs="+", default=[], metavar="key=value", help="keep such rows")
    page.add_argument("--out", type=Path, help="file to write (default: <paths.outputs>/dashboard.html)")
    page.add_argument("--serve", action="store_true", help="serve on 127.0.0.1 and refresh while runs finish")
    page.add_argument("--port", type=int, default=PORT, help=f"port of --serve (default: {PORT}; 0: any free one)")
    return page


def run(args: argparse.Namespace, read: Callable[[], tuple[list[Row], Store]],
        tables: Callable[[], Iterable[Mapping[str, Any]]] = tuple) -> int:  # fmt: skip
    """Write the page, or serve it. `read` returns the rows to show, ceilings included; `tables` those rendered."""
    if find_spec("jinja2") is None:
        raise UserError("dashboard: needs jinja2; install it with: pip install 'splitpriv[dashboard]'")
    if args.serve and args.out:
        raise UserError("dashboard: --serve writes no file; leave out --serve or --out")
    if args.serve:
        return _serve(args.port, read, tables)
    from splitpriv.dashboard import build

    rows, store = read()
    if not rows and (args.where or not store.root.is_dir()):
        raise UserError("dashboard: no finished run matches; make some with `splitpriv run`, or loosen --where")
    out = args.out or store.root / "dashboard.html"
    text = build.page(*build.collect(rows, store, tables()))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, text)
    print(f"dashboard: {out} ({len(rows)} runs, {len(text.encode()) / 1e6:.1f} MB)")
    return 0


def _serve(port: int, read: Callable[[], tuple[list[Row], Store]],
           tables: Callable[[], Iterable[Mapping[str, Any]]]) -> int:  # fmt: skip
    from splitpriv.dashboard import serve

    if not 0 <= port <= 65535:
        raise UserError(f"dashboard --port: {port} is no port; choose 0 to 65535")
    try:
        server = serve.serve(read, port, tables)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise UserError(f"dashboard --port: {port}: {error.strerror}; choose another, or 0 for any free one") from error
    serve.forever(server)
    return 0
