"""
What was answered lately, kept in memory: a server that takes the place of another one may know nothing of it.
"""

from collections import OrderedDict
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from core0.redis.outbox import Words

MOST = 10_000  # answers
MOST_BYTES = 32 << 20  # of all of them
OVERHEAD = 500  # bytes that one takes besides its text


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An answer as it was written.

    :ivar until: by the clock, when the server forgets it by itself.
    """

    words: Words
    until: float

    @property
    def size(self) -> int:
        """
        Bytes that it takes, about.
        """
        return OVERHEAD + len(self.words[5])


class Answers:
    """
    :param life: of a result, in seconds; no longer is an answer remembered.
    :ivar highest: the highest number of any that was ever added.
    """

    def __init__(self, clock: IReactorTime, life: float, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._clock = clock
        self._life = life
        self._most = most
        self._most_bytes = most_bytes
        self._by_number: OrderedDict[int, Answer] = OrderedDict()
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
        self._drop(number)
        self.highest = max(self.highest, number)
        answer = Answer(words, self._clock.seconds() + self._life)
        self._by_number[number] = answer
        self._size += answer.size
        if words[3]:
            self._by_id[words[2]] = number
        self._expire()

    def _drop(self, number: int) -> None:
        answer = self._by_number.pop(number, None)
        if answer is None:
            return
        self._size -= answer.size
        if self._by_id.get(answer.words[2]) == number:
            del self._by_id[answer.words[2]]

    def _expire(self) -> None:
        now = self._clock.seconds()
        while self._by_number:
            number, oldest = next(iter(self._by_number.items()))
            if len(self._by_number) <= self._most and self._size <= self._most_bytes and oldest.until > now:
                return
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
        return None if answer is None else answer.words

    def of_id(self, id: str) -> tuple[Words, int] | None:
        """
        The answer that an id stands for, and the whole seconds for which it does; None if there is none.
        """
        number = self._by_id.get(id)
        if number is None:
            return None
        answer = self._by_number[number]
        left = int(answer.until - self._clock.seconds())
        return (answer.words, left) if left > 0 else None

    def ids(self) -> list[str]:
        """
        All ids that an answer is remembered of.
        """
        self._expire()
        return list(self._by_id)
