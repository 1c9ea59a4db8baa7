"""
Cuts plain output into the records of live output: lines, parts of lines, or many lines at once.
"""

from collections.abc import Callable

MAX_PIECE = 32 * 1024  # bytes of a record


class Pieces:
    """
    Every byte of a stream, in order. It costs no work per line where there are many.

    :param give: called with the bytes of each record and their offset in the stream. They end with a newline unless the
        record is a part of a line. No character of UTF-8 is cut between two records.
    :param lines: whether so many lines may be given out one by one now.
    """

    __slots__ = ("_give", "_lines", "_offset", "_rest")

    def __init__(self, give: Callable[[bytes, int], None], lines: Callable[[int], bool]) -> None:
        self._give = give
        self._lines = lines
        self._offset = 0
        self._rest = b""

    @property
    def partial(self) -> bool:
        """
        Whether there is a part of a line that is not given out yet.
        """
        return bool(self._rest)

    def feed(self, data: bytes) -> None:
        """
        Take the next piece of the stream, and give out the lines that it completes.
        """
        if self._rest:
            data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if end:
            whole = data[:end]
            if end <= MAX_PIECE and self._lines(whole.count(b"\n")):
                for line in whole[:-1].split(b"\n"):
                    self._out(line + b"\n")
            else:
                self._cut(whole)
        if len(self._rest) >= MAX_PIECE:
            rest = self._rest
            stop = len(rest) - unfinished(rest)
            self._cut(rest[:stop])
            self._rest = rest[stop:]

    def flush(self) -> None:
        """
        Give out the part of a line that there is, but for a character of UTF-8 that is not complete.
        """
        rest = self._rest
        stop = len(rest) - unfinished(rest)
        if stop:
            self._rest = rest[stop:]
            self._out(rest[:stop])

    def close(self) -> None:
        """
        Take the end of the stream.
        """
        rest, self._rest = self._rest, b""
        if rest:
            self._out(rest)

    def _cut(self, data: bytes) -> None:
        """
        Give out whole lines together, as many as fit; a line that does not fit in pieces.
        """
        begin = 0
        while len(data) - begin > MAX_PIECE:
            stop = data.rfind(b"\n", begin, begin + MAX_PIECE) + 1
            if not stop:
                stop = begin + MAX_PIECE
                stop -= unfinished(data[begin:stop])
            self._out(data[begin:stop])
            begin = stop
        self._out(data[begin:])

    def _out(self, data: bytes) -> None:
        self._give(data, self._offset)
        self._offset += len(data)


def unfinished(data: bytes) -> int:
    """
    How many bytes at the end begin a character of UTF-8 that may still be completed.
    """
    for count in range(1, min(3, len(data)) + 1):
        byte = data[-count]
        if byte & 0xC0 != 0x80:
            needs = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return count if needs > count else 0
    return 0
