"""
A folder of contents, each in a file that has its SHA-256 as its name.
"""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from typing import Protocol

from core0.images.sparse import put

CHUNK = 1 << 20  # bytes that are read at once; what is smaller is not written before it is known to be new


class Readable(Protocol):
    """
    Something to be read to its end.
    """

    def read(self, count: int, /) -> bytes:
        """
        :param count: of bytes, at most.
        :returns: b"" at its end only.
        """


class Deposit:
    """
    :param folder: is made if it is missing.
    :ivar new: how many contents were not there before.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        self._folder = folder
        self.new = 0

    def keep(self, content: Readable) -> str:
        """
        Store a content, unless it is there: wholly or not at all.

        :returns: its SHA-256 in hex.
        :raises OSError: it cannot be written; and whatever reading it raises.
        """
        pieces = _pieces(content)
        first = next(pieces, b"")
        if len(first) < CHUNK:
            digest = hashlib.sha256(first).hexdigest()
            if not self._has(digest, len(first)):
                self._write([first])
            return digest
        return self._write(_joined(first, pieces))

    def _has(self, digest: str, size: int) -> bool:
        try:
            found = os.stat(os.path.join(self._folder, digest), follow_symlinks=False)
        except FileNotFoundError:
            return False
        # of another size is what a machine without power has left of it
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def _write(self, pieces: Iterable[bytes]) -> str:
        temporary = os.path.join(self._folder, f".{secrets.token_hex(8)}.new")
        digest, size = hashlib.sha256(), 0
        try:
            with open(temporary, "xb") as file:
                for piece in pieces:
                    digest.update(piece)
                    put(file.fileno(), piece, size)
                    size += len(piece)
            name = digest.hexdigest()
            if not self._has(name, size):
                os.rename(temporary, os.path.join(self._folder, name))
                self.new += 1
                return name
            os.unlink(temporary)
            return name
        except BaseException:
            discard(temporary)
            raise


def _pieces(content: Readable) -> Iterator[bytes]:
    """
    A content in pieces that are all full, the last one apart.
    """
    piece = bytearray()
    while data := content.read(CHUNK - len(piece)):
        piece += data
        if len(piece) == CHUNK:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _joined(first: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces


def discard(path: str) -> None:
    """
    Remove a file that is not finished; where that fails it stays.
    """
    try:
        os.unlink(path)
    except OSError:
        pass
