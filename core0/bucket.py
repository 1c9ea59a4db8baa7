"""
A token bucket: how often something may be done.
"""

from twisted.internet.interfaces import IReactorTime


class Bucket:
    """
    :param rate: tokens that come in a second.
    :param size: tokens that it holds at most, and at first.
    """

    __slots__ = ("_clock", "_filled", "_rate", "_size", "_tokens")

    def __init__(self, clock: IReactorTime, rate: float, size: int) -> None:
        self._clock = clock
        self._rate = rate
        self._size = size
        self._tokens = float(size)
        self._filled = clock.seconds()

    def left(self) -> int:
        """
        How many tokens there are.
        """
        now = self._clock.seconds()
        self._tokens = min(self._size, self._tokens + max(0.0, now - self._filled) * self._rate)
        self._filled = now
        return int(self._tokens)

    def take(self) -> bool:
        """
        Take one.

        :returns: whether there was one.
        """
        if self._tokens < 1 and self.left() < 1:
            return False
        self._tokens -= 1
        return True
