"""An HTTP server on the loopback whose files misbehave on request."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """A file of the server and how it is served. Each request uses up one entry of the lists."""

    body: bytes
    etag: str | None = '"one"'
    modified: str | None = None
    knows_ranges: bool = True
    obeys_if_range: bool = True  # False: sends the rest of another file, as broken mirrors do
    states_range: bool = True  # False: a 206 without Content-Range
    is_chunked: bool = False
    extra_length: int = 0  # bytes that are stated and never sent
    statuses: list[int] = field(default_factory=list)  # errors to answer with first
    retry_after: str | None = None
    drops: list[int] = field(default_factory=list)  # bytes of the answer after which to close
    resets: bool = False  # close by a reset


class FileServer:
    """`files` may be changed at any time; `requests` lists (path, Range, If-Range) as they came."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str | None, str | None]] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.http.daemon_threads = True
        self.http.owner = self  # type: ignore[attr-defined]

    def add(self, name: str, body: bytes, **manners: object) -> str:
        self.files[f"/{name}"] = Served(body, **manners)  # type: ignore[arg-type]
        return f"http://127.0.0.1:{self.http.server_address[1]}/{name}"

    def ranges(self) -> list[str | None]:
        """Return the Range headers so far, without the one-byte requests of `probe`."""
        return [asked for _, asked, _ in self.requests if asked != "bytes=0-0"]


@contextmanager
def serving() -> Iterator[FileServer]:
    server = FileServer()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        owner: FileServer = self.server.owner  # type: ignore[attr-defined]
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        owner.requests.append((self.path, asked, condition))
        file = owner.files.get(self.path)
        if file is None:
            self._refuse(404)
        elif file.statuses:
            self._refuse(file.statuses.pop(0), file.retry_after)
        else:
            self._serve(file, asked, condition)

    def _refuse(self, status: int, retry_after: str | None = None) -> None:
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, file: Served, asked: str | None, condition: str | None) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        is_same = condition is None or condition in (file.etag, file.modified) or not file.obeys_if_range
        length = len(file.body) + file.extra_length
        if span and file.knows_ranges and is_same:
            begin, end = int(span[1]), int(span[2] or length - 1)
            if begin >= length:
                self._refuse(416)
                return
            self.send_response(206)
            if file.states_range:
                self.send_header("Content-Range", f"bytes {begin}-{end}/{length}")
        else:
            begin, end = 0, length - 1
            self.send_response(200)
        for name, value in (("ETag", file.etag), ("Last-Modified", file.modified)):
            if value:
                self.send_header(name, value)
        if file.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(end - begin + 1))
        self.end_headers()
        self._send(file, file.body[begin : end + 1], is_question=asked == "bytes=0-0")

    def _send(self, file: Served, content: bytes, is_question: bool) -> None:
        limit = file.drops.pop(0) if file.drops and not is_question else None
        content = content[:limit]
        if file.is_chunked:
            content = b"%x\r\n%s\r\n" % (len(content), content) + (b"0\r\n\r\n" if limit is None else b"")
        self.wfile.write(content)
        self.wfile.flush()
        if limit is not None and file.resets:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
