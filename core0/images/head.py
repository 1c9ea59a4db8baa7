"""
The beginning of a file, looked at before the file is read.
"""

from typing import BinaryIO

PEEKED = 64 << 10  # bytes; an image of a CD says at 32 KiB that it is one


class Head:
    """
    A file that is read from where it is although its beginning has been looked at; it may be a pipe.

    :ivar peeked: its beginning, or all of it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rest = b""
        while len(self._rest) < PEEKED and (more := file.read(PEEKED - len(self._rest))):
            self._rest += more
        self.peeked = self._rest

    def read(self, count: int = -1, /) -> bytes:
        """
        :param count: of bytes, at most; below zero: all.
        :returns: b"" at its end only, or if none are asked for.
        """
        if not self._rest:
            return self._file.read(count)
        data, self._rest = (self._rest, b"") if count < 0 else (self._rest[:count], self._rest[count:])
        return data + self._file.read() if count < 0 else data
