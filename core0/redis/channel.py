"""
What core0 knows of the three lists that it shares with the CoreX of one container.
"""

from collections import deque
from itertools import islice

from core0.corex_messages import Receiver
from core0.redis import keys

MOST_ORDERS = 10_000  # that wait for one container, in core0 and in its list
MOST_BYTES = 64 << 20  # of these
BATCH = 1000  # orders sent at once
BATCH_BYTES = 8 << 20
TELL = 10.0  # seconds between words on what was dropped


def lists_of(number: int) -> tuple[str, str, str]:
    """
    The keys of a container: orders, results, records.
    """
    return keys.orders(number), keys.corex_results(number), keys.corex_records(number)


class Channel:
    """
    :ivar busy: the receiver is at work on results.
    :ivar held: records are not read now.
    :ivar done_results: how many the receiver is done with that are still in the list.
    :ivar done_records: the same of records.
    """

    __slots__ = (
        "_listed",
        "_listed_bytes",
        "_sizes",
        "_told",
        "_waiting",
        "_waiting_bytes",
        "busy",
        "done_records",
        "done_results",
        "held",
        "keys",
        "lost",
        "number",
        "receiver",
    )

    def __init__(self, number: int, receiver: Receiver) -> None:
        self.number = number
        self.receiver = receiver
        self.keys = lists_of(number)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._listed = 0
        self._sizes: deque[int] = deque()
        self._listed_bytes = 0
        self.busy = self.held = False
        self.done_results = self.done_records = 0
        self.lost = 0
        self._told = -TELL

    def add(self, line: bytes) -> None:
        """
        Have an order sent after all others.
        """
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def batch(self) -> list[bytes]:
        """
        What to send now: the first of those that wait.
        """
        size = 0
        for place, line in enumerate(islice(self._waiting, BATCH)):
            size += len(line)
            if place and size > BATCH_BYTES:
                return list(islice(self._waiting, place))
        return list(islice(self._waiting, BATCH))

    def sent(self, count: int, listed: int) -> None:
        """
        So many are in the list now, which has ``listed`` entries.
        """
        for _ in range(count):
            size = len(self._waiting.popleft())
            self._waiting_bytes -= size
            self._sizes.append(size)
            self._listed_bytes += size
        self.seen(listed)

    def seen(self, listed: int) -> None:
        """
        The list of orders has so many entries.
        """
        self._listed = listed
        while len(self._sizes) > listed:
            self._listed_bytes -= self._sizes.popleft()

    @property
    def waiting(self) -> int:
        """
        How many orders are still to be sent.
        """
        return len(self._waiting)

    def room(self) -> bool:
        """
        Whether one more order may wait for this container.
        """
        few = len(self._waiting) + self._listed < MOST_ORDERS
        return few and self._waiting_bytes + self._listed_bytes < MOST_BYTES

    def questions(self) -> tuple[int, int, int, int]:
        """
        What the script is asked: how many results and how many records to remove, whether to read results, records.

        What is said here is not said again: if the reply is lost the same is read once more.
        """
        done = (self.done_results, self.done_records)
        self.done_results = self.done_records = 0
        self.held = self.receiver.clogged()
        return (*done, int(not self.busy), int(not self.held))

    def tell(self, now: float) -> int:
        """
        How many entries were dropped since it was told last; 0 if it is too early to tell again.
        """
        if not self.lost or now - self._told < TELL:
            return 0
        lost, self.lost, self._told = self.lost, 0, now
        return lost
