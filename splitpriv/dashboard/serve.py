"""The page with live refresh, on this machine only: the standard library's server, polled by the page."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from splitpriv import plain
from splitpriv.dashboard import build, thumbs
from splitpriv.dashboard.status import status
from splitpriv.report.select import Selection
from splitpriv.store import Store

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost", "[::1]")  # another name in a request means that another site sent it
STRIP = re.compile(r"/strip/([0-9a-f]{12})\.webp")
SHOWN = ("rows", "notes", "tables", "measure")  # what the runs of the page are made of
CONNECTIONS = 24  # at a time; a browser opens six
IDLE, LONGEST = 10, 60  # seconds that a connection may be silent, or last
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Answer = tuple[bytes, str]  # compressed JSON, and a tag that changes with it


class Live:
    """What the page asks for: its runs, made again when the store has others, and how far the store is."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.strips: dict[str, thumbs.Tiles] = {}
        self.lock = threading.Lock()
        self.known: tuple[Any, Answer] | None = None

    def data(self) -> Answer:
        """All runs."""
        with self.lock:
            stamp = _stamp(self.selection.store)
            if self.known is None or self.known[0] != stamp:
                chosen = self.selection
                data, strips = build.collect(chosen.rows(), chosen.store, chosen.tables())
                self.strips.update(strips.tiles)
                self.known = stamp, _packed(data)
            return self.known[1]

    def status(self) -> Answer:
        """What is being built, what failed, and every sweep."""
        with self.lock:
            return _packed({"status": plain.strict(status(self.selection.store)), "made": build.now()})


def _stamp(store: Store) -> list[tuple[str, int, int]]:
    """Times and sizes of all that the runs are made of: while they stay, so does the page."""
    stamps = []
    for part in SHOWN:
        try:
            with os.scandir(store.root / part) as inside:
                stats = [(entry.path, entry.stat(follow_symlinks=False)) for entry in inside]
        except OSError:  # not there, or not yet
            continue
        stamps += sorted((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats)
    return stamps


def _packed(data: dict[str, Any]) -> Answer:
    made = data.pop("made")
    tag = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
    return gzip.compress(json.dumps({**data, "made": made}, allow_nan=False).encode(), 5, mtime=0), tag


def handler(live: Live) -> type[BaseHTTPRequestHandler]:
    """Answers GET / with the page, its two JSONs and /strip/<name>.webp with a picture."""

    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE

        def do_GET(self) -> None:
            path = self.path.split("?", 1)[0]
            if not self.is_ours():
                self.reply(403, b"ask for 127.0.0.1 or localhost", "text/plain")
            elif path in ("/", "/index.html"):
                self.reply(200, build.page(None, None).encode(), "text/html; charset=utf-8")
            elif path == "/data.json":
                self.send(live.data)
            elif path == "/status.json":
                self.send(live.status)
            elif (match := STRIP.fullmatch(path)) and match[1] in live.strips:
                picture = thumbs.encode(match[1], live.strips[match[1]], 0)
                self.reply(200, picture, "image/webp", **{"Cache-Control": "max-age=86400"})
            else:
                self.reply(404, b"no such page", "text/plain")

        def is_ours(self) -> bool:
            """Whether the request names this server, once, and nothing else."""
            port = self.server.server_address[1]  # type: ignore[index]
            hosts = self.headers.get_all("Host", [])
            return len(hosts) == 1 and hosts[0] in {f"{name}:{port}" for name in NAMES}

        def send(self, ask: Callable[[], Answer]) -> None:
            try:
                body, tag = ask()
            except Exception as error:  # a reader's problem is the page's to tell; the server goes on
                text = json.dumps({"error": plain.placeless(f"{type(error).__name__}: {error}")}).encode()
                return self.reply(500, text, "application/json")
            if self.headers.get("If-None-Match") == f'"{tag}"':
                return self.reply(304, b"", "application/json")
            more = {"Content-Encoding": "gzip", "ETag": f'"{tag}"', "Cache-Control": "no-cache"}
            return self.reply(200, body, "application/json", **more)

        def reply(self, code: int, body: bytes, kind: str, **headers: str) -> None:
            self.send_response(code)
            length = {"Content-Type": kind, "Content-Length": str(len(body))}
            for key, value in {**length, **HEADERS, **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler


class Server(ThreadingHTTPServer):
    """A thread per connection, of which there are not too many, none idle or endless."""

    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, selection: Selection, port: int) -> None:
        self.room = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((HOST, port), handler(Live(selection)))

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        end = threading.Timer(LONGEST, _hang_up, (request,))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # else the page was closed meanwhile
            super().handle_error(request, client_address)


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        request.shutdown(socket.SHUT_RDWR)


def serve(selection: Selection, port: int) -> Server:
    """A server on 127.0.0.1 that is not yet running; port 0 takes any that is free."""
    return Server(selection, port)


def forever(server: ThreadingHTTPServer) -> None:
    """Serve until Ctrl-C."""
    print(f"dashboard: http://{HOST}:{server.server_address[1]}/  (Ctrl-C ends it)", file=sys.stderr)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)
