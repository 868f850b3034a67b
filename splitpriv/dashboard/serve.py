"""The page with live refresh, on this machine only: the standard library's server, polled by the page."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from splitpriv.dashboard import build, thumbs
from splitpriv.report.select import Selection

HOST = "127.0.0.1"
NAMES = {"127.0.0.1", "localhost", "[::1]"}  # another name in a request means that another site sent it
STRIP = re.compile(r"/strip/([0-9a-f]{12})\.webp")


class Live:
    """The page's data, read again whenever the page asks, and sent only when it changed."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.strips: dict[str, thumbs.Tiles] = {}
        self.lock = threading.Lock()

    def data(self) -> tuple[bytes, str]:
        """The data as compressed JSON, and a tag that changes with it."""
        with self.lock:
            chosen = self.selection
            data, strips = build.collect(chosen.rows(), chosen.store, chosen.tables())
            self.strips.update(strips.tiles)
        made = data.pop("made")
        tag = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
        return gzip.compress(json.dumps({**data, "made": made}).encode(), 5, mtime=0), tag


def handler(live: Live) -> type[BaseHTTPRequestHandler]:
    """Answers GET / with the page, /data.json with the data and /strip/<name>.webp with a picture."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.headers.get("Host", "").rsplit(":", 1)[0]
            path = self.path.split("?", 1)[0]
            try:
                if name not in NAMES:
                    self.reply(403, b"ask for 127.0.0.1 or localhost", "text/plain")
                elif path in ("/", "/index.html"):
                    self.reply(200, build.page(None, None).encode(), "text/html; charset=utf-8")
                elif path == "/data.json":
                    self.send_data()
                elif (found := STRIP.fullmatch(path)) and found[1] in live.strips:
                    picture = thumbs.encode(found[1], live.strips[found[1]], 0)
                    self.reply(200, picture, "image/webp", **{"Cache-Control": "max-age=86400"})
                else:
                    self.reply(404, b"no such page", "text/plain")
            except (BrokenPipeError, ConnectionResetError):  # the page was closed meanwhile
                pass

        def send_data(self) -> None:
            try:
                body, tag = live.data()
            except Exception as error:  # a reader's problem is the page's to tell; the server goes on
                text = json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
                return self.reply(500, text, "application/json")
            if self.headers.get("If-None-Match") == f'"{tag}"':
                return self.reply(304, b"", "application/json")
            more = {"Content-Encoding": "gzip", "ETag": f'"{tag}"', "Cache-Control": "no-cache"}
            return self.reply(200, body, "application/json", **more)

        def reply(self, code: int, body: bytes, kind: str, **headers: str) -> None:
            self.send_response(code)
            for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler


def serve(selection: Selection, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1 that is not yet running; port 0 takes any that is free."""
    return ThreadingHTTPServer((HOST, port), handler(Live(selection)))


def forever(server: ThreadingHTTPServer) -> None:
    """Serve until Ctrl-C."""
    print(f"dashboard: http://{HOST}:{server.server_address[1]}/  (Ctrl-C ends it)", file=sys.stderr)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)
