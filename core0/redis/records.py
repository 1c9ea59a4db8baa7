"""
Log records, live output and samples on their way to Redis, on a connection of their own: they never delay a result.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.redis import keys
from core0.redis.connection import Connection, Lost, ReplyError
from core0.redis.link import Link
from core0.redis.script import SAMPLE
from core0.redis.window import CLOG_BYTES, READER, Backlog, Window, Windows
from core0.redis.writer import Writer
from core0.waiting import pause

MAX_ITEMS = 20_000
MAX_BYTES = 24 << 20  # live output has the most of it: programs wait for its readers, before it is dropped
MAX_LOG_BYTES = 8 << 20  # of log records; what writes them takes a multiple of that for a moment
RETRY = 1.0  # seconds
FLUSH = 0.02  # seconds that records gather before they are written together
CLOGGED = 0.02  # seconds between looks whether live output is read
SAMPLES = 200  # written by one call of the script
RECORD = 1024  # bytes that log records in Redis may have on average; if they are larger, fewer are kept
SLACK = 2  # a sample lives for so many intervals, and a result's life


class RecordWriter(Writer):
    """
    :param life: of a result, in seconds; live output and samples expire like it.
    :param most: log records kept in Redis.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, link: Link, life: int, most: int) -> None:
        super().__init__(clock, link, "records are not written any more")
        self._life = life
        self._kept = Window(most, most * RECORD)
        self._logs: list[bytes] = []
        self._streams: dict[str, list[bytes]] = {}
        self._live = Windows(self._backlog, life)
        self._clogged: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._under_way: dict[str, int] = {}  # bytes of live output that is being written
        self._log_bytes = 0
        self._flushed = clock.seconds()
        self._over: list[str] = []
        self._samples: list[tuple[str, Mapping[str, Any], float]] = []
        self._count = 0
        self._bytes = 0
        self._dropped = 0
        self.tell_dropped: Callable[[int, str], bytes] = lambda count, where: b""

    def _backlog(self) -> Backlog:
        return Backlog(Window(keys.MAX_STREAM, keys.MAX_STREAM * RECORD), self._clock.seconds())

    def keep(self, most: int) -> None:
        """
        Keep so many log records in Redis from now on.
        """
        self._kept = Window(most, most * RECORD)

    def _roomy(self, size: int, needed: bool = False) -> bool:
        if not needed and (self._count >= MAX_ITEMS or self._bytes + size > MAX_BYTES):
            self._dropped += 1
            return False
        if not self._bytes:
            self._flushed = self._clock.seconds()  # it is not late before
        self._count += 1
        self._bytes += size
        self._bell.ring()
        return True

    def log(self, line: bytes) -> None:
        """
        Keep a log record, if there is room.
        """
        if self._log_bytes + len(line) > MAX_LOG_BYTES:
            self._dropped += 1
        elif self._roomy(len(line)):
            self._log_bytes += len(line)
            self._logs.append(line)

    def stream(self, job: str, line: bytes, last: bool) -> None:
        """
        Keep a piece of live output, if there is room; the last one always: readers wait for it.
        """
        if self._roomy(len(line), last):
            self._streams.setdefault(job, []).append(line)
            self._sizes[job] = self._sizes.get(job, 0) + len(line)
        if last:
            self._over.append(job)

    def clogged(self, job: str) -> bool:
        """
        Whether more live output of a job waits to be written, or to be read, than should.
        """
        now = self._clock.seconds()
        backlog = self._live.find(job)
        waits = self._sizes.get(job, 0) + self._under_way.get(job, 0)
        # together: what is in the list before it has all come would give way to what comes
        much = waits + (backlog.unread(now) if backlog is not None else 0) > CLOG_BYTES
        if waits and (much or self._bytes > MAX_BYTES // 2):
            return now - self._flushed < READER
        return job in self._clogged and backlog is not None and backlog.clogged(now)

    def sample(self, job: str, fields: Mapping[str, Any], life: float) -> None:
        """
        Keep a sample, if there is room.
        """
        if self._roomy(sum(len(str(value)) for value in fields.values()) + 128):
            self._samples.append((job, fields, life))

    def _left(self) -> bool:
        return bool(self._count)

    async def _work(self) -> None:
        while True:
            await self._bell.wait(self._clock if self._clogged else None, CLOGGED)
            await pause(self._clock, FLUSH)
            connection = await self._link.up()
            try:
                await self._flush(connection)
            except (Lost, ReplyError) as error:
                self._log.warn("records were lost: {error}", error=error)
                self._link.doubt(error)
                await pause(self._clock, RETRY)
            self._calm()

    async def _flush(self, connection: Connection) -> None:
        logs, streams, samples = self._logs, self._streams, self._samples
        dropped, self._dropped = self._dropped, 0
        count, self._count, self._bytes = self._count, 0, 0
        self._logs, self._streams, self._samples = [], {}, []
        self._under_way, self._sizes, self._log_bytes = self._sizes, {}, 0
        over, self._over = self._over, []
        if dropped:
            logs.append(self.tell_dropped(dropped, "Redis"))
        sent: list[Deferred[Any]] = []
        if logs:
            sent.append(connection.command("RPUSH", keys.LOGS, *logs))
            sent.append(connection.command("LTRIM", keys.LOGS, -self._kept.add(len(logs), sum(map(len, logs))), -1))
        sent += self._send_streams(connection, streams)
        for first in range(0, len(samples), SAMPLES):
            words: list[Any] = [keys.MAX_SAMPLES]
            for job, fields, life in samples[first : first + SAMPLES]:
                words += (keys.stats(job), int(self._life + SLACK * life), 2 * len(fields))
                for pair in fields.items():
                    words += pair
            sent.append(connection.command("EVALSHA", SAMPLE.sha, 0, *words))
        try:
            await gatherResults(sent, consumeErrors=True).addErrback(_first)
        except (Lost, ReplyError) as error:
            # not repeated: part of them may have been written. A reader of live output knows what it has had already.
            again = sum(map(len, streams.values())) if isinstance(error, Lost) or "READONLY" in str(error) else 0
            if again:
                self._send_again(streams, over)
            self._dropped += dropped + count - again
            self._bell.ring()
            raise
        finally:
            self._under_way = {}
        self._flushed = self._clock.seconds()
        self._forget(over)

    def _send_streams(self, connection: Connection, streams: Mapping[str, list[bytes]]) -> "list[Deferred[Any]]":
        """
        Live output, and a look at that which nobody seems to read.
        """
        now = self._clock.seconds()
        sent: list[Deferred[Any]] = [
            connection.command("LLEN", keys.stream(job)).addCallback(self._looked, job, 0, keys.MAX_STREAM)
            for job in self._clogged - streams.keys()
        ]
        for job, lines in streams.items():
            key = keys.stream(job)
            backlog = self._live.get(job, now)
            kept = backlog.add(len(lines), sum(map(len, lines)))
            sent.append(connection.command("RPUSH", key, *lines).addCallback(self._looked, job, len(lines), kept))
            sent.append(connection.command("LTRIM", key, -kept, -1))
            sent.append(connection.command("EXPIRE", key, self._life))
        return sent

    def _looked(self, listed: int, job: str, added: int, kept: int) -> None:
        now = self._clock.seconds()
        backlog = self._live.find(job)
        if added:
            self._under_way.pop(job, None)
        if backlog is not None:
            backlog.seen(listed, added, kept, now)
        if backlog is not None and backlog.clogged(now):
            self._clogged.add(job)
        else:
            self._clogged.discard(job)

    def _send_again(self, streams: Mapping[str, list[bytes]], over: list[str]) -> None:
        """
        Before what has come meanwhile, as far as there is room.
        """
        for job, lines in streams.items():
            size = sum(map(len, lines))
            self._streams[job] = lines + self._streams.get(job, [])
            self._sizes[job] = self._sizes.get(job, 0) + size
            self._count += len(lines)
            self._bytes += size
        self._over = over + self._over

    def _forget(self, over: list[str]) -> None:
        """
        Live output that is complete.
        """
        for job in over:
            self._live.remove(job)
            self._clogged.discard(job)


def _first(failure: Failure) -> Failure:
    failure.trap(FirstError)
    reason: Failure = failure.value.subFailure  # type: ignore[union-attr] # it is a FirstError
    return reason
