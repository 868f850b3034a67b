"""One run as a command makes it, alone or as a point of a sweep, and what its user can mend. Imports no torch."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

from splitpriv.launch import streams
from splitpriv.plugins.active import raised
from splitpriv.store import BARRED, FULL, say, unwritable
from splitpriv.types import UserError

if TYPE_CHECKING:
    from splitpriv.run.plan import Planned
    from splitpriv.store import Row, Store

PLACES = {  # what is wrong with a place, and no bug of ours
    *FULL, *BARRED, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE,
    errno.ENOTCONN, errno.ENOLCK, errno.ENOTSUP,
}  # fmt: skip


def point(planned: Planned, wait: bool = True) -> Row:
    """Make one run, which the trackers follow, and print its result; a sweep does not `wait` for them."""
    from splitpriv.report import terminal

    row = answered(planned)
    store = _store(planned)
    if row is None:
        return _made(planned, store, wait)
    with streams.shown():
        terminal.print_row(row, store)
    return row


def answered(planned: Planned) -> Row | None:
    """The row of a finished run; None where there is none, or where trackers are to be told of it."""
    return None if planned.cfg["track"] else _store(planned).row(planned.plan.row)


def _store(planned: Planned) -> Store:
    from splitpriv.store import Store

    return Store(planned.cfg["paths"]["outputs"])


def _made(planned: Planned, store: Store, wait: bool) -> Row:
    from splitpriv import track
    from splitpriv.report import terminal
    from splitpriv.run import pipeline
    from splitpriv.run.prepare import whole

    prepared = whole(planned)
    with track.follow(prepared, store, wait) as said:
        row = pipeline.execute(prepared, store)
        with streams.shown():
            terminal.print_row(row, store)
    for problem in said:
        say(problem)
    return row


def problems_of(error: Exception) -> list[str]:
    """What a user can mend: the problems of a UserError, a place that cannot be written to, a line of a plug-in; empty
    for a bug of ours."""
    if isinstance(error, UserError):
        return error.problems
    if isinstance(error, OSError) and error.errno in PLACES:
        return unwritable(error).problems
    return raised(error)


def complain(problems: Iterable[str]) -> int:
    """Print each problem on a line of its own; the exit code of a user's mistake."""
    for problem in dict.fromkeys(problems):
        say(problem)
    return 2
