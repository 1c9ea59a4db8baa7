"""
Fetches many bodies at once over HTTP, with libcurl: connections are used again, thousands of small files are no wait.
"""

import heapq
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator

import pycurl

from core0 import __version__
from core0.images.download import Download, Failure
from core0.images.patience import Patience

AT_ONCE = 16
REDIRECTS = 5
BUFFER = 1 << 18  # bytes that libcurl hands over at once
SLOW = 1024  # bytes a second: less than that counts as standing still
LOOK = 1.0  # seconds that it sleeps at most
STIR = 0.005  # seconds to sleep where libcurl has nothing to wait for
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class _Line:
    """
    One transfer at a time.
    """

    def __init__(self, patience: Patience, count: Callable[[int], None]) -> None:
        self.download: Download | None = None
        self._count = count
        self.curl = pycurl.Curl()
        http = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
        for option, value in (
            (pycurl.PROTOCOLS, http),
            (pycurl.REDIR_PROTOCOLS, http),
            (pycurl.FOLLOWLOCATION, 1),
            (pycurl.MAXREDIRS, REDIRECTS),
            (pycurl.NOSIGNAL, 1),
            (pycurl.CONNECTTIMEOUT_MS, int(patience.connect * 1000)),
            (pycurl.LOW_SPEED_LIMIT, SLOW),
            (pycurl.LOW_SPEED_TIME, patience.slow),
            (pycurl.BUFFERSIZE, BUFFER),
            (pycurl.USERAGENT, f"core0/{__version__}"),
            (pycurl.HEADERFUNCTION, self._heard),
            (pycurl.WRITEFUNCTION, self._take),
        ):
            self.curl.setopt(option, value)
        authorities = os.environ.get("SSL_CERT_FILE") or next(filter(os.path.exists, AUTHORITIES), "")
        if authorities:
            self.curl.setopt(pycurl.CAINFO, authorities)

    def begin(self, download: Download) -> None:
        self.download = download
        self.curl.setopt(pycurl.URL, download.source.url)
        self.curl.setopt(pycurl.HTTPHEADER, download.headers())

    def _heard(self, line: bytes) -> None:
        if self.download is not None:
            self.download.heard(line)

    def _take(self, data: bytes) -> int | None:
        self._count(len(data))
        return self.download.take(data) if self.download is not None else 0


class Transfers:
    """
    :param seconds: that all of them together have; what is not here then has failed.
    :param count: called with the bytes of each piece that arrives.
    """

    def __init__(self, patience: Patience, seconds: float, count: Callable[[int], None]) -> None:
        self._patience = patience
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._count = count
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, AT_ONCE)
        self._free: list[_Line] = []
        self._lines: dict[pycurl.Curl, _Line] = {}
        self._later: list[tuple[float, int, Download]] = []

    def run(self, downloads: Iterable[Download]) -> Iterator[Download]:
        """
        Fetch them, some at once, each as often as it takes; it comes out when it is here or has failed for good.

        :param downloads: the next one is asked for when there is room for it.
        """
        coming = iter(downloads)
        try:
            while True:
                self._again()
                while len(self._lines) + len(self._later) < AT_ONCE and (download := next(coming, None)) is not None:
                    self._begin(download)
                if not self._lines and not self._later:
                    return
                if time.monotonic() >= self._deadline:
                    yield from self._late()
                else:
                    yield from self._progress()
        finally:
            for line in list(self._lines.values()):
                self._leave(line)
            self._later.clear()

    def _late(self) -> Iterator[Download]:
        """
        Give up those that are on their way.
        """
        late = [line.download for line in self._lines.values()] + [download for _, _, download in self._later]
        for line in list(self._lines.values()):
            self._leave(line)
        self._later.clear()
        for download in filter(None, late):
            download.failure = Failure(503, f"it has not come within {self._seconds:.0f} s; the server is too slow")
            yield download

    def _again(self) -> None:
        """
        Begin those whose wait is over.
        """
        while self._later and self._later[0][0] <= time.monotonic():
            self._begin(heapq.heappop(self._later)[2])

    def _begin(self, download: Download) -> None:
        line = self._free.pop() if self._free else _Line(self._patience, self._count)
        line.begin(download)
        self._lines[line.curl] = line
        self._multi.add_handle(line.curl)

    def _leave(self, line: _Line) -> None:
        self._multi.remove_handle(line.curl)
        del self._lines[line.curl]
        line.download = None
        self._free.append(line)

    def _progress(self) -> Iterator[Download]:
        self._multi.perform()
        _, good, bad = self._multi.info_read()
        for curl, error in [(curl, None) for curl in good] + [(curl, (number, text)) for curl, number, text in bad]:
            line = self._lines[curl]
            download = line.download
            self._leave(line)
            if download is not None and self._settled(download, error):
                yield download
        if good or bad:
            return
        wait = LOOK
        if self._later:
            wait = min(LOOK, max(0.0, self._later[0][0] - time.monotonic()))
        if not self._lines:
            time.sleep(wait)
        elif self._multi.select(wait) < 0:
            time.sleep(STIR)

    def _settled(self, download: Download, error: tuple[int, str] | None) -> bool:
        failure = download.ended(error)
        if failure is None or download.failure is not None:
            return True
        if download.tries >= self._patience.tries:
            download.failure = failure._replace(text=f"{failure.text}; tried {download.tries} times")
            return True
        wait = self._patience.wait * 2 ** (download.tries - 1) * random.uniform(0.75, 1.25)
        heapq.heappush(self._later, (time.monotonic() + wait, id(download), download))
        return False
