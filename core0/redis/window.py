"""
How much of a list in Redis is kept, the newest, by number and by size; and how much of it nobody has read yet.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

W = TypeVar("W")
MOST_WINDOWS = 10_000

CLOG, CLOG_BYTES = 5000, 4 << 20  # records that wait for their reader, bytes of these
READER = 30.0  # seconds that a program waits for a reader who takes nothing any more
NOBODY = 10.0  # the same for one who has never come, such as on a busy machine


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

    def newest(self, count: int) -> int:
        """
        Bytes of so many of the newest records, as far as they are known; of a part of a write, its share.
        """
        size = 0
        for number, each in reversed(self._batches):
            if count <= 0:
                break
            size += each * min(count, number) // max(number, 1)
            count -= number
        return size


class Windows(Generic[W]):
    """
    The windows of the lists of many jobs. The last piece of a job that a container or a client has ended may never
    come, so a window lives no longer than its list does.

    :param make: a new one.
    :param life: seconds that a list lives after it was last written to.
    """

    __slots__ = ("_life", "_make", "_windows")

    def __init__(self, make: Callable[[], W], life: float) -> None:
        self._make = make
        self._life = life
        self._windows: OrderedDict[str, tuple[float, W]] = OrderedDict()  # that written to last is last

    def __len__(self) -> int:
        return len(self._windows)

    def get(self, job: str, now: float) -> W:
        """
        The one of a job that is being written to.
        """
        found = self._windows.pop(job, None)
        window = self._make() if found is None else found[1]
        self._windows[job] = now, window
        while len(self._windows) > MOST_WINDOWS or next(iter(self._windows.values()))[0] + self._life < now:
            self._windows.popitem(last=False)
        return window

    def find(self, job: str) -> W | None:
        """
        The one of a job, if it has one.
        """
        found = self._windows.get(job)
        return None if found is None else found[1]

    def remove(self, job: str) -> None:
        """
        The list of a job is complete.
        """
        self._windows.pop(job, None)


class Backlog:
    """
    What of a list that is read is still there.

    Whoever fills it waits while it is ``clogged``: some seconds for a reader that has never come, longer for one that
    was there.

    :param window: of the list.
    """

    __slots__ = ("_large", "_listed", "_moved", "_read", "_since", "_unread", "_window")

    def __init__(self, window: Window, now: float, *, read: bool = False) -> None:
        self._window = window
        self._listed = self._unread = 0
        self._large = False
        self._read = read
        self._moved = self._since = now

    def add(self, count: int, size: int) -> int:
        """
        Write so many more.

        :returns: how many are to stay.
        """
        return self._window.add(count, size)

    def seen(self, listed: int, added: int, kept: int, now: float) -> None:
        """
        There are so many in the list.

        :param added: so many of them were added since it was looked at last.
        :param kept: so many stay.
        """
        if listed < self._listed + added:
            self._read, self._moved = True, now
        listed = min(listed, kept)
        if not self._large:
            self._since = now
        self._listed = listed
        self._unread = self._window.newest(listed)
        self._large = listed > CLOG or self._unread > CLOG_BYTES

    def clogged(self, now: float) -> bool:
        """
        Whether it is worth waiting until it is less.
        """
        return self._large and self._patient(now)

    def _patient(self, now: float) -> bool:
        return now - max(self._moved, self._since) < (READER if self._read else NOBODY)

    def unread(self, now: float) -> int:
        """
        Bytes that its reader may still come for.
        """
        return self._unread if not self._large or self._patient(now) else 0
