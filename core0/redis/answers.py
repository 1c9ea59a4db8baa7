"""
What was answered lately, kept in memory: a server that takes the place of another one may know nothing of it.
"""

from collections import deque

from twisted.internet.interfaces import IReactorTime

from core0.redis.outbox import Words

MOST = 10_000  # answers
MOST_BYTES = 32 << 20  # of all of them
OVERHEAD = 500  # bytes that one takes besides its text


class Answers:
    """
    Each as it was written, with the time by the clock at which the server forgets it by itself.

    :param life: of a result, in seconds; no longer is an answer remembered.
    :ivar highest: the highest number of any that was ever added.
    """

    def __init__(self, clock: IReactorTime, life: float, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._clock = clock
        self._life = life
        self._most = most
        self._most_bytes = most_bytes
        # tuples of what is no container: the collector of garbage has nothing to do with them
        self._by_number: dict[int, tuple[Words, float]] = {}
        self._line: deque[tuple[int, float]] = deque()  # by age; some are replaced by later ones
        self._by_id: dict[str, int] = {}
        self._size = 0
        self.highest = 0

    def __len__(self) -> int:
        return len(self._by_number)

    def add(self, words: Words) -> None:
        """
        It is written. Results of jobs that go on, and of startup services, are not kept.
        """
        kind, number = words[0], int(words[1])
        if not number or kind.startswith("k"):
            return
        if number in self._by_number:
            self._drop(number)
        if number > self.highest:
            self.highest = number
        until = self._clock.seconds() + self._life
        self._by_number[number] = (words, until)
        self._line.append((number, until))
        self._size += OVERHEAD + len(words[5])
        if words[3]:
            self._by_id[words[2]] = number
        self._expire()

    def _drop(self, number: int) -> None:
        words, _ = self._by_number.pop(number)
        self._size -= OVERHEAD + len(words[5])
        if self._by_id.get(words[2]) == number:
            del self._by_id[words[2]]

    def _expire(self) -> None:
        now = self._clock.seconds()
        while self._line:
            number, until = self._line[0]
            if len(self._by_number) <= self._most and self._size <= self._most_bytes and until > now:
                return
            self._line.popleft()
            if self._by_number.get(number, (None, None))[1] == until:
                self._drop(number)

    def numbers(self) -> set[int]:
        """
        Of all that are remembered.
        """
        self._expire()
        return set(self._by_number)

    def get(self, number: int) -> Words | None:
        """
        The answer to an entry, if it is remembered.
        """
        answer = self._by_number.get(number)
        return None if answer is None else answer[0]

    def of_id(self, id: str) -> tuple[Words, int] | None:
        """
        The answer that an id stands for, and the whole seconds for which it does; None if there is none.
        """
        number = self._by_id.get(id)
        if number is None:
            return None
        words, until = self._by_number[number]
        left = int(until - self._clock.seconds())
        return (words, left) if left > 0 else None

    def ids(self) -> list[str]:
        """
        All ids that an answer is remembered of.
        """
        self._expire()
        return list(self._by_id)
