"""The process of one tracker: it reads the store every other second until the pipe from the run closes."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from filelock import FileLock

from splitpriv import plugins
from splitpriv.store import Row, Store, write_atomic
from splitpriv.targets import build
from splitpriv.track.base import Tracker, curves, trajectory

POLL = 2.0  # seconds


def main() -> None:
    """Follow the run that the first line of standard input tells of."""
    order = json.loads(sys.stdin.readline())
    over = threading.Event()
    threading.Thread(target=_listen, args=(over,), daemon=True).start()
    store = Store(order["root"])
    home = store.root / "track" / order["name"]
    plugins.use(order["plugins"])
    tracker: Tracker = build(order["node"], f"track.{order['name']}")()
    if tracker.is_off():
        return
    with FileLock(home / f"{order['run_id']}.lock"):  # the same command may run twice at a time
        if not (home / f"{order['run_id']}.done").exists():
            _record(tracker, order["run_id"], order["head"], store, home, over)


def _listen(over: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    over.set()


def _record(tracker: Tracker, run_id: str, head: Row, store: Store, home: Path, over: threading.Event) -> None:
    """Hand over points as they come, and all the rest if a row has come of them when the run is over.

    Curves only grow, and in one order; so the number of points sent tells the next process where to go on.
    """
    mark = home / f"{run_id}.sent"
    sent = tracker.begin(run_id, head, home, int(mark.read_text(encoding="utf-8")) if mark.exists() else 0)
    row, ended = None, False
    while not ended:
        ended = over.wait(POLL)  # and once more afterwards
        row = store.row(head["key"]) if ended else None
        points = list(curves(row or {"trajectory": trajectory(head, store)}))
        for index in range(sent, len(points)):
            tracker.add(index, *points[index])
        sent = max(sent, len(points))
        if tracker.flush():
            write_atomic(mark, str(sent))
    if row is not None:
        tracker.complete(row, store)
    tracker.end(finished=row is not None)
    write_atomic(mark, str(sent))
    if row is not None:
        mark.replace(home / f"{run_id}.done")


if __name__ == "__main__":
    main()
