"""
How much of a list in Redis is kept: the newest, by number and by size.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

MOST_WINDOWS = 10_000


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


class Windows:
    """
    The windows of the lists of many jobs. The last piece of a job that a container or a client has ended may never
    come, so a window lives no longer than its list does.

    :param make: a new one.
    :param life: seconds that a list lives after it was last written to.
    """

    __slots__ = ("_life", "_make", "_windows")

    def __init__(self, make: Callable[[], Window], life: float) -> None:
        self._make = make
        self._life = life
        self._windows: OrderedDict[str, tuple[float, Window]] = OrderedDict()  # that written to last is last

    def __len__(self) -> int:
        return len(self._windows)

    def get(self, job: str, now: float) -> Window:
        """
        The one of a job that is being written to.
        """
        _, window = self._windows.pop(job, (now, None))
        if window is None:
            window = self._make()
        self._windows[job] = now, window
        while len(self._windows) > MOST_WINDOWS or next(iter(self._windows.values()))[0] + self._life < now:
            self._windows.popitem(last=False)
        return window

    def remove(self, job: str) -> None:
        """
        The list of a job is complete.
        """
        self._windows.pop(job, None)
