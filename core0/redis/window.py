"""
How much of a list in Redis is kept: the newest, by number and by size.
"""

from collections import deque


class Window:
    """
    How many of the newest records fit.

    :param most: records.
    :param room: bytes; what was written before the first of these is not known, and counts for nothing.
    """

    __slots__ = ("_batches", "_count", "_full", "_most", "_room", "_size")

    def __init__(self, most: int, room: int) -> None:
        self._most = most
        self._room = room
        self._batches: deque[tuple[int, int]] = deque()
        self._count = 0
        self._size = 0
        self._full = False

    def add(self, count: int, size: int) -> int:
        """
        Write so many more, of so many bytes together.

        :returns: how many are to stay.
        """
        self._batches.append((count, size))
        self._count += count
        self._size += size
        while len(self._batches) > 1:
            count, size = self._batches[0]
            too_large = self._size > self._room
            if not too_large and self._count - count < self._most:
                break
            self._full |= too_large
            self._batches.popleft()
            self._count -= count
            self._size -= size
        return min(self._count, self._most) if self._full else self._most
