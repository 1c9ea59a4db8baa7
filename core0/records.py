"""
What jobs say on their way: log records, live output, samples. All of it may be lost in a flood, never without a word.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import UNSET
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from core0.bucket import Bucket
from core0.clock import epoch
from core0.interfaces import IRecords
from core0.messages import Level, Message, Record, encode

SECOND = 1_000_000_000  # ns
RATE = 20_000  # records a second, of all jobs; each costs some 4 µs
BURST = 20_000
TELL = 1.0  # seconds until it is told how many were dropped


class Sink(Protocol):
    """
    Takes encoded records; never waits, never fails; drops and counts what it has no room for.
    """

    def log(self, line: bytes) -> None:
        """
        One log record, JSON.
        """
        ...


class RecordSink(Sink, Protocol):
    """
    A sink that also takes what belongs to one job.
    """

    def stream(self, job: str, line: bytes, last: bool) -> None:
        """
        One record of live output, JSON. The last one of a job is never dropped.
        """
        ...

    def clogged(self, job: str) -> bool:
        """
        Whether more live output of a job waits for its reader than should.
        """
        ...

    def sample(self, job: str, fields: Mapping[str, str | int | float], life: float) -> None:
        """
        One sample; ``life`` in seconds.
        """
        ...


@implementer(IRecords)
class Records:
    """
    :param core: the number of this Core.
    :param levels: those that are kept where a command does not say which.
    :param files: where log records go besides ``sink``.
    """

    def __init__(
        self,
        clock: IReactorTime,
        node: str,
        core: int,
        levels: Iterable[int],
        sink: RecordSink,
        files: Sink | None = None,
    ) -> None:
        self._clock = clock
        self._node = node
        self._core = core
        self._levels = frozenset(levels)
        self._sink = sink
        self._files = files
        self._bucket = Bucket(clock, RATE, BURST)
        self._lost = 0

    def room(self) -> int:
        """
        How many records there is room for now.
        """
        return self._bucket.left()

    def drop(self, count: int) -> None:
        """
        Count some that are not even made; the count becomes a record of its own within a second.
        """
        if count and not self._lost:
            self._clock.callLater(TELL, self._tell)
        self._lost += count

    def _tell(self) -> None:
        lost, self._lost = self._lost, 0
        self._keep(self.record("", Level.OPS_ERROR, f"{lost} records dropped: jobs print more than {RATE} a second"))

    def reload(self, levels: Iterable[int]) -> None:
        """
        Keep other levels from now on.
        """
        self._levels = frozenset(levels)

    def wants(self, level: int) -> bool:
        """
        Whether a record of this level is kept by default.
        """
        return level in self._levels

    def log(self, job: str, level: int, text: str) -> None:
        """
        Keep a log record in both places.
        """
        if self._bucket.take():
            self._keep(self.record(job, level, text))
        else:
            self.drop(1)

    def _keep(self, line: bytes) -> None:
        self._sink.log(line)
        if self._files is not None:
            self._files.log(line)

    def record(self, job: str, level: int, text: str) -> bytes:
        """
        A log record of now, JSON.
        """
        message = Message(level, text, int(epoch(self._clock) * SECOND))
        return encode(Record(self._core, self._node, job, message))

    def dropped(self, count: int, where: str) -> bytes:
        """
        The record that tells of those that were dropped.
        """
        return self.record("", Level.OPS_ERROR, f"{count} records dropped: {where} could not keep up")

    def stream(self, job: str, message: Message, last: bool) -> None:
        """
        Add to the live output of a job.
        """
        # plain output is in few pieces if there is much of it
        if not self._bucket.take() and not last and message.offset is UNSET:
            self.drop(1)
            return
        self._sink.stream(job, encode(Record(self._core, self._node, job, message)), last)

    def clogged(self, job: str) -> bool:
        """
        Whether more live output of a job waits for its reader than should.
        """
        return self._sink.clogged(job)

    def sample(self, job: str, fields: Mapping[str, str | int | float], life: float) -> None:
        """
        Add a sample. One without a life of its own is of a job's making, as many as it likes.
        """
        if not life and not self._bucket.take():
            self.drop(1)
            return
        self._sink.sample(job, fields, life)
