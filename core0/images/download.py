"""
One body on its way here over HTTP, through as many tries as it takes.
"""

import os
import re
from dataclasses import dataclass
from typing import NamedTuple

import pycurl

from core0.images.coding import ACCEPTED
from core0.images.room import Room
from core0.images.source import Source
from core0.images.sparse import put

IDLE_TALK = 1 << 16  # bytes of the body of an answer that is none
HEADER = 1 << 10  # bytes of a header
SHOWN = 80  # characters of what a server says
OK, PARTIAL, NOT_MODIFIED, NOT_FOUND, GONE, UNSATISFIABLE = 200, 206, 304, 404, 410, 416
BUSY = frozenset({408, 425, 429})
# errors of libcurl that trying again does not mend: they are about what was asked for, or about trust
_LASTING = {
    pycurl.E_URL_MALFORMAT: 400,
    pycurl.E_UNSUPPORTED_PROTOCOL: 503,
    pycurl.E_TOO_MANY_REDIRECTS: 503,
    pycurl.E_PEER_FAILED_VERIFICATION: 503,
    pycurl.E_SSL_CACERT_BADFILE: 503,
}
_WANTED = {name.encode(): name for name in ("content-encoding", "content-range", "etag", "last-modified")}
_RANGE = re.compile(r"bytes ([0-9]{1,18})-", re.ASCII)


class Failure(NamedTuple):
    """
    Why something could not be fetched.

    :ivar code: 400, it cannot be used; 404, it is not there; 503, it may work later.
    """

    code: int
    text: str


@dataclass(slots=True)
class Known:
    """
    What a server said about a body: it may be asked whether that is still so.
    """

    etag: str = ""
    modified: str = ""


class Download:
    """
    :param limit: bytes that the body may have as it is sent.
    :param fd: a file that takes it, from its beginning; -1: it is kept in ``pieces``.
    :param known: the body is only wanted if it is not that one any more.
    :param lasting: whether what is at this address never changes, as in a store of contents.
    :param room: for the file; None: somebody has seen to it.
    :ivar failure: set when there are no more tries; what came is of no use then.
    :ivar unchanged: the server says that it is what is known.
    :ivar encoding: in which the body came.
    """

    def __init__(
        self,
        source: Source,
        limit: int,
        fd: int = -1,
        *,
        known: Known | None = None,
        lasting: bool = False,
        room: Room | None = None,
    ) -> None:
        self.source = source
        self.fd = fd
        self.pieces: list[bytes] = []
        self.received = 0
        self.known = Known()
        self.encoding = ""
        self.failure: Failure | None = None
        self.tries = 0
        self._limit = limit
        self._wanted_unless = known
        self._conditional = False
        self._lasting = lasting
        self._room = room
        self._forget_answer()

    def _forget_answer(self) -> None:
        self._status, self._reason = 0, ""
        self._headers: dict[str, str] = {}
        self._idle = 0
        self._begun = self._too_large = False
        self._complaint: OSError | None = None

    @property
    def unchanged(self) -> bool:
        """
        Whether the server has nothing new.
        """
        return self._status == NOT_MODIFIED and self._conditional

    def headers(self) -> list[str]:
        """
        Begin a try.

        :returns: the headers of the request.
        """
        self.tries += 1
        self._forget_answer()
        lines = [f"Accept-Encoding: {ACCEPTED}", "Accept: */*"]
        self._conditional = False
        if self.received and not self._resumable():
            self.start_over()
        if self.received:
            lines.append(f"Range: bytes={self.received}-")
            if self._validator():
                lines.append(f"If-Range: {self._validator()}")
        elif self._wanted_unless is not None:
            self._conditional = True
            if self._wanted_unless.etag:
                lines.append(f"If-None-Match: {self._wanted_unless.etag}")
            if self._wanted_unless.modified:
                lines.append(f"If-Modified-Since: {self._wanted_unless.modified}")
        return lines

    def _validator(self) -> str:
        return self.known.etag if self.known.etag.startswith('"') else self.known.modified

    def _resumable(self) -> bool:
        # an encoded body may come out different each time, unless the server says that it is the same
        if self.encoding:
            return self.known.etag.startswith('"')
        return self._lasting or bool(self._validator())

    def start_over(self) -> None:
        """
        Throw away what came.
        """
        if self.fd >= 0 and self.received:
            os.ftruncate(self.fd, 0)
        self.received = 0
        self.pieces.clear()

    def heard(self, line: bytes) -> None:
        """
        Take a line of the headers of the answer.
        """
        if line.startswith(b"HTTP/"):  # of the next answer, after a redirect
            self._forget_answer()
            rest = line.decode("latin-1").strip().partition(" ")[2]
            self._status = int(rest[:3]) if rest[:3].isdecimal() else 0
            self._reason = rest[:SHOWN]
            return
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _WANTED:
            self._headers[_WANTED[name]] = value[:HEADER].decode("latin-1").strip()

    def take(self, data: bytes) -> int | None:
        """
        Take a piece of the body.

        :returns: None, or 0 to stop the transfer.
        """
        if not self._begin():
            self._idle += len(data)
            return None if self._idle <= IDLE_TALK else 0
        if self.received + len(data) > self._limit:
            self._too_large = True
            return 0
        if self.fd < 0:
            self.pieces.append(data)
        else:
            try:
                if self._room is not None:
                    self._room.take(len(data))
                put(self.fd, data, self.received)
            except OSError as error:
                self._complaint = error
                return 0
        self.received += len(data)
        return None

    def _begin(self) -> bool:
        """
        Whether what comes now is the body that was asked for, or the rest of it.
        """
        if self._begun or self._status not in (OK, PARTIAL):
            return self._begun
        if self._status == PARTIAL:
            found = _RANGE.match(self._headers.get("content-range", ""))
            self._begun = found is not None and int(found[1]) == self.received > 0
            return self._begun
        self.start_over()
        self.known = Known(self._headers.get("etag", ""), self._headers.get("last-modified", ""))
        encoding = self._headers.get("content-encoding", "").lower()
        self.encoding = "" if encoding == "identity" else encoding
        self._begun = True
        return True

    def ended(self, error: tuple[int, str] | None) -> Failure | None:
        """
        A try is over.

        :param error: of libcurl, its number and text.
        :returns: what failed; it is lasting if it is ``failure``, too. None: it is all here.
        """
        if self._complaint is not None:
            self.failure = Failure(503, f"cannot be stored: {self._complaint.strerror}")
        elif self._too_large:
            self.failure = Failure(400, f"expected at most {self._limit} bytes, it has more")
        elif error is not None and self._status < 400:
            text = f"{_name(error)}{f' after {self.received} bytes' if self.received else ''}"
            if error[0] not in _LASTING:
                return Failure(503, text)
            self.failure = Failure(_LASTING[error[0]], text)
        elif self.unchanged:
            return None
        elif self._status in (OK, PARTIAL):
            if self._begin():
                return None
            self.start_over()
            return Failure(503, "the server sends another part than the one that was asked for")
        else:
            return self._refused()
        return self.failure

    def _refused(self) -> Failure:
        failure = Failure(
            404 if self._status in (NOT_FOUND, GONE) else 503, f"the server answers {self._reason or 'nothing'}"
        )
        if self._status == UNSATISFIABLE and self.received:
            self.start_over()
        elif self._status < 500 and self._status not in BUSY:
            self.failure = failure
        return failure


def _name(error: tuple[int, str]) -> str:
    """
    What libcurl says, without what it may quote of a URL.
    """
    number, text = error
    return _SAID.get(number, text.partition("://")[0][:SHOWN] or f"error {number} of libcurl")


_SAID = {
    pycurl.E_URL_MALFORMAT: "it is no URL",
    pycurl.E_UNSUPPORTED_PROTOCOL: "it leads to what is neither http nor https",
    pycurl.E_TOO_MANY_REDIRECTS: "there are too many redirects",
    pycurl.E_OPERATION_TIMEDOUT: "the server does not answer, or too slowly",
    pycurl.E_PARTIAL_FILE: "the connection was lost",
    pycurl.E_RECV_ERROR: "the connection was lost",
    pycurl.E_SEND_ERROR: "the connection was lost",
    pycurl.E_GOT_NOTHING: "the connection was lost",
    pycurl.E_COULDNT_CONNECT: "the server cannot be reached",
    pycurl.E_COULDNT_RESOLVE_HOST: "there is no such host",
    pycurl.E_COULDNT_RESOLVE_PROXY: "there is no such proxy",
    pycurl.E_PEER_FAILED_VERIFICATION: "the certificate of the server is not to be trusted",
    pycurl.E_SSL_CONNECT_ERROR: "there is no TLS connection to the server",
}
