"""
Log records, live output and samples of a CoreX on their way to core0, on a connection of their own.
"""

from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from core0.corex_messages import dropped_line, log_line, own_line, sample_line, stream_line
from core0.messages import printable
from core0.redis import keys
from core0.redis.connection import Connection, Lost, ReplyError
from core0.redis.link import Link
from core0.redis.window import READER, Backlog, Window
from core0.redis.writer import Writer
from core0.waiting import pause

MAX_ITEMS = 20_000
MAX_BYTES = 8 << 20
MAX_LAST, MAX_LAST_BYTES = 20_000, 8 << 20  # the same for last pieces of live output
SHORT = 1000  # records in the list: core0 reads it
CLOGGED = 0.02  # seconds between looks whether core0 reads
RECORD = 1024  # bytes that records in the list may have on average before whoever prints much has to wait
MAX_OWN = 64 << 10  # characters of an entry of CoreX's own log
RETRY = 1.0  # seconds
FLUSH = 0.02  # seconds that records gather before they are sent together


class FarSink(Writer):
    """
    A :class:`core0.records.RecordSink`.

    :param number: of the container.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, link: Link, number: int) -> None:
        super().__init__(clock, link, "records are not sent any more")
        self._key = keys.corex_records(number)
        self._lines: list[bytes] = []
        self._last: list[bytes] = []  # of live output: they have room of their own, and stay until they are there
        self._bytes = self._last_bytes = 0
        self._dropped = 0
        self._sent = clock.seconds()
        window = Window(keys.MAX_RECORDS, keys.MAX_RECORDS * RECORD)
        self._backlog = Backlog(window, clock.seconds(), read=True)

    def log(self, line: bytes) -> None:
        """
        Send a log record, if there is room.
        """
        if self._roomy(len(line)):
            self._lines.append(log_line(line))

    def stream(self, job: str, line: bytes, last: bool) -> None:
        """
        Send a piece of live output, if there is room; more for the last one: readers wait for it.
        """
        if last:
            self._add_last(stream_line(job, line, True))
        elif self._roomy(len(line)):
            self._lines.append(stream_line(job, line, False))

    def clogged(self, job: str) -> bool:
        """
        Whether more waits for core0 than should.
        """
        now = self._clock.seconds()
        if self._bytes > MAX_BYTES // 2:
            return now - self._sent < READER
        return self._backlog.clogged(now)

    def sample(self, job: str, fields: Mapping[str, str | int | float], life: float) -> None:
        """
        Send a sample, if there is room.
        """
        if self._roomy(sum(len(str(value)) for value in fields.values()) + 128):
            self._lines.append(sample_line(job, dict(fields), life))

    def own(self, text: str) -> None:
        """
        Send an entry of this CoreX's own log, if there is room.
        """
        text = printable(text[:MAX_OWN])
        if self._roomy(len(text)):
            self._lines.append(own_line(text))

    def _add_last(self, line: bytes) -> None:
        if len(self._last) >= MAX_LAST or self._last_bytes + len(line) > MAX_LAST_BYTES:
            self._dropped += 1
            return
        self._last_bytes += len(line)
        self._last.append(line)
        self._bell.ring()

    def _roomy(self, size: int) -> bool:
        if len(self._lines) >= MAX_ITEMS or self._bytes + size > MAX_BYTES:
            self._dropped += 1
            return False
        if not self._bytes:
            self._sent = self._clock.seconds()  # it is not late before
        self._bytes += size
        self._bell.ring()
        return True

    def _left(self) -> bool:
        return bool(self._lines or self._last)

    async def _work(self) -> None:
        while True:
            waited_for = self._backlog.clogged(self._clock.seconds())
            look = CLOGGED if waited_for else RETRY
            await self._bell.wait(self._clock if waited_for or self._dropped else None, look)
            await pause(self._clock, FLUSH)
            connection = await self._link.up()
            try:
                await self._flush(connection)
            except (Lost, ReplyError) as error:
                self._log.warn("records were lost: {error}", error=error)
                await pause(self._clock, RETRY)
            self._calm()

    async def _flush(self, connection: Connection) -> None:
        dropped = await self._to_tell(connection)
        lines, last = self._lines, self._last[:]
        told = [dropped_line(dropped)] if dropped else []
        now = self._clock.seconds()
        if not (lines or last or told):
            if self._backlog.clogged(now):
                self._backlog.seen(await connection.command("LLEN", self._key), 0, keys.MAX_RECORDS, now)
            return
        count = len(lines) + len(last) + len(told)
        self._backlog.add(count, self._bytes + self._last_bytes)
        self._lines, self._bytes = [], 0
        self._sent = now
        try:
            listed = await connection.command("RPUSH", self._key, *lines, *last, *told)
        except (Lost, ReplyError):
            # not repeated: they may be there. A second last one does no harm.
            self._dropped += len(lines)
            self._bell.ring()
            raise
        self._backlog.seen(listed, count, keys.MAX_RECORDS, now)
        del self._last[: len(last)]
        self._last_bytes -= sum(map(len, last))
        self._dropped -= dropped
        if listed > keys.MAX_RECORDS:
            # the oldest give way
            await connection.command("LTRIM", self._key, -keys.MAX_RECORDS, -1)
            self._dropped += listed - keys.MAX_RECORDS

    async def _to_tell(self, connection: Connection) -> int:
        """
        How many were dropped, once core0 reads: while it does not, the word on that would be dropped as well.
        """
        if self._dropped and await connection.command("LLEN", self._key) < SHORT:
            return self._dropped
        return 0
