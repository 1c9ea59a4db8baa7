"""
Cuts plain output into lines, for those who want each by itself.
"""


class Lines:
    """
    The lines of a stream that comes in pieces of any size, without their newlines.

    :param limit: bytes, at least 1; a longer line is given out in pieces of that size, or a little less: no
        character of UTF-8 is cut.
    """

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """
        Take the next piece of the stream.

        :returns: the lines, and pieces of a long line, that it completes.
        """
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest = bytearray()
            if len(lines[0]) > self._limit or len(data) > self._limit:
                lines = [piece for line in lines for piece in self._cut(line)]
        self._rest += rest
        if len(self._rest) > self._limit:
            *pieces, last = self._cut(bytes(self._rest))
            lines += pieces
            self._rest = bytearray(last)
        return lines

    def skip(self, data: bytes) -> int:
        """
        Take the next piece of the stream, and give none of its lines out.

        :returns: how many lines it completes.
        """
        count = data.count(b"\n")
        if count:
            self._rest = bytearray(data[data.rfind(b"\n") + 1 :][: self._limit])
        return count

    def close(self) -> list[bytes]:
        """
        Take the end of the stream.

        :returns: the last line, if it had no newline.
        """
        rest, self._rest = self._rest, bytearray()
        return [bytes(rest)] if rest else []

    def _cut(self, line: bytes) -> list[bytes]:
        pieces = []
        while len(line) > self._limit:
            end = _boundary(line, self._limit)
            pieces.append(line[:end])
            line = line[end:]
        return [*pieces, line]


def _boundary(line: bytes, end: int) -> int:
    """
    The last place up to ``end`` that is not inside a character of UTF-8.
    """
    for place in range(end, max(end - 4, 0), -1):
        if line[place] & 0xC0 != 0x80:
            return place
    return end
