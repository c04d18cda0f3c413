"""A web server on this machine that sends one file, in all the ways in which servers and connections misbehave."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Sends `content` for any path but those of `redirects` (path -> address) and `codes` (path -> HTTP code).

    breaks: after how many bytes each of the next connections ends. ranges: whether it knows them. announces: whether
    it says how long the file is. stalls: connections that hang after their first bytes until `going_on` is set.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.breaks: list[int] = []
        self.stalls = 0
        self.ranges = self.announces = True
        self.redirects: dict[str, str] = {}
        self.codes: dict[str, list[int]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.going_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.pth"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        path = self.path.partition("?")[0]
        server.asked.append((self.path, wanted))
        if path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[path])
            self.end_headers()
            return
        if server.codes.get(path):
            self.send_error(server.codes[path].pop(0))
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        if start and start >= len(server.content):
            self.send_error(416)
            return
        rest = server.content[start:]
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if server.announces:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if server.stalls:
            server.stalls -= 1
            self.wfile.write(rest[:10])
            self.wfile.flush()
            server.going_on.wait(20)
            return
        self.wfile.write(rest[: server.breaks.pop(0)] if server.breaks else rest)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    with FileServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.going_on.set()
            server.shutdown()
            thread.join()
