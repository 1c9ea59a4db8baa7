"""
A real HTTP server for tests, in a thread, that misbehaves as it is told.
"""

import gzip
import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Page:
    """
    What is at a path.

    :ivar statuses: of the first answers; then there is the body.
    :ivar cuts: of the first answers with a body: bytes after which the connection is closed.
    :ivar wait: seconds before each answer.
    :ivar ranges: whether parts are served.
    :ivar headers: in addition to those that belong to a body.
    """

    body: bytes = b""
    statuses: Sequence[int] = ()
    cuts: Sequence[int] = ()
    wait: float = 0.0
    ranges: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """
        Of the body.
        """
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'


def redirect(to: str) -> Page:
    """
    A page that is elsewhere.
    """
    return Page(statuses=[302] * 1000, headers={"Location": to})


def zipped(body: bytes) -> Page:
    """
    A page that is sent compressed.
    """
    return Page(gzip.compress(body), headers={"Content-Encoding": "gzip"})


class Web:
    """
    A server on a port of its own.

    :ivar pages: what there is by path; a body as bytes will do.
    :ivar asked: how often each path was asked for.
    :ivar headers: of the requests by path, in their order.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Page | bytes] = {}
        self.asked: Counter[str] = Counter()
        self.headers: dict[str, list[dict[str, str]]] = {}
        self._cut: Counter[str] = Counter()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.web = self
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """
        Where it listens: host:port.
        """
        return f"127.0.0.1:{self._server.server_address[1]}"

    def url(self, path: str) -> str:
        """
        Of a page.
        """
        return f"http://{self.host}{path}"

    def page(self, path: str, headers: dict[str, str]) -> tuple[Page, int | None] | None:
        """
        What to answer to a request: the page, and the bytes after which to cut it, if any. None: there is no such page.
        """
        self.asked[path] += 1
        self.headers.setdefault(path, []).append(headers)
        found = self.pages.get(path)
        if found is None:
            return None
        page = found if isinstance(found, Page) else Page(found)
        number = self.asked[path] - 1
        if number < len(page.statuses):
            return page, None
        number -= len(page.statuses)
        return page, page.cuts[number] if number < len(page.cuts) else None

    def close(self) -> None:
        """
        It is gone.
        """
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100
    web: Web

    def handle_error(self, request: Any, client_address: Any) -> None:
        """
        Clients that leave are what is tested.
        """


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """
        The server's hook.
        """
        web = self.server.web
        found = web.page(self.path, {name.lower(): value for name, value in self.headers.items()})
        if found is None:
            self._answer(404, b"there is no such page", {})
            return
        page, cut = found
        time.sleep(page.wait)
        number = web.asked[self.path] - 1
        if number < len(page.statuses):
            self._answer(page.statuses[number], b"no", page.headers)
        elif self.headers.get("If-None-Match") == page.etag:
            self._answer(304, b"", {"ETag": page.etag})
        else:
            self._send(page, cut)

    def _send(self, page: Page, cut: int | None) -> None:
        headers = {"ETag": page.etag, **page.headers}
        body, status = page.body, 200
        wanted = self.headers.get("Range", "")
        if page.ranges and wanted.startswith("bytes=") and self.headers.get("If-Range", page.etag) == page.etag:
            start = int(wanted[6:].rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            body, status = body[start:], 206
        self._answer(status, body, headers, cut)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304 and "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 304:
            self.wfile.write(body if cut is None else body[:cut])
        self.wfile.flush()
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """
        The server's hook: it is not to write into the output of tests.
        """
