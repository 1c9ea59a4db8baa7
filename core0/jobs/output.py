"""
What one run of a program prints: the ends of its streams, its messages, its result.
"""

import sys
from collections.abc import Callable

from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessProtocol, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from core0.interfaces import IJob, IRecords
from core0.jobs.levels import MERE, Levels, Plain
from core0.jobs.lines import Lines
from core0.jobs.pieces import Pieces
from core0.jobs.results import ResultBuffers
from core0.jobs.tail import Tail
from core0.messages import RESULT_LEVELS, Level, Message, plain_message
from core0.waiting import Occurrence

MAX_MESSAGE = 1 << 20  # bytes of a result that becomes a record
MAX_RECORD = 32 * 1024  # bytes of a log record's text; longer lines come in pieces
SECOND = 1_000_000_000  # ns
MAX_WORD = 256  # bytes of each part of a sample; a longer one is a mere message
EXPENSIVE = 0.004  # seconds that a piece of output takes before its program has to wait a while
LONGEST_BREAK = 0.05  # seconds
PART = 0.05  # seconds after which a part of a line is live
CLOGGED = 0.02  # seconds until a program that prints faster than it is read has its turn again
MAX_LINES = 1000  # of live output that are records of their own, in a second
SIGNALLED = 128  # + number: as a shell reports it


class Output:
    """
    Reads both streams of one run.

    :param limit: bytes kept of each stream, and of each message that is no result.
    :param now: the time in seconds since the epoch.
    :param buffers: for results.
    :ivar refused: why the last result is not kept; empty if it is, or if there is none.
    """

    __slots__ = (
        "_buffers",
        "_data",
        "_job",
        "_limit",
        "_lines_left",
        "_messages",
        "_now",
        "_records",
        "_run",
        "_second",
        "_streaming",
        "_streams",
        "_taken",
        "_wanted",
        "_watch",
        "critical",
        "level",
        "refused",
    )

    def __init__(
        self, job: IJob, records: IRecords, limit: int, now: Callable[[], float], buffers: ResultBuffers
    ) -> None:
        command = job.command
        self._job = job.id
        self._watch = job.watch
        self._records = records
        self._limit = limit
        self._now = now
        self._streaming = bool(command.stream)
        self._run = int(job.started * 1000)
        self._second, self._lines_left = 0, 0
        levels = command.log_levels
        self._wanted = records.wants if levels is None else frozenset(levels).__contains__
        self._messages = command.messages is not False
        self._streams: dict[int, _Stream] = {}  # by level; most programs print to one of them, or to none
        self._buffers = buffers
        self._taken = 0
        self._data = b""
        self.level = 0
        self.critical = ""
        self.refused = ""

    def feed(self, fd: int, data: bytes) -> None:
        """
        Take what came from descriptor 1 or 2.
        """
        self._stream(fd).levels.feed(data)

    def _stream(self, level: int) -> "_Stream":
        stream = self._streams.get(level)
        if stream is None:
            stream = self._streams[level] = _Stream(self, Level(level), self._messages)
        return stream

    def _both(self) -> "tuple[_Stream | None, _Stream | None]":
        return self._streams.get(1), self._streams.get(2)

    def close(self) -> None:
        """
        Both streams have ended.
        """
        for level in sorted(self._streams):
            self._streams[level].close()
        for level in sorted(self._streams):  # the end of one may have been for the other
            self._streams[level].close_lines()

    def release(self) -> None:
        """
        Give back what results have taken; nothing is read any more.
        """
        self._buffers.give_back(self._taken)
        self._taken = 0

    @property
    def data(self) -> str:
        """
        The result.
        """
        return self._data.decode("utf-8", "replace")

    def tails(self) -> tuple[bytes, bytes]:
        """
        The ends of stdout and stderr.
        """
        first, second = self._both()
        return first.tail.getvalue() if first else b"", second.tail.getvalue() if second else b""

    def dropped(self) -> tuple[int, int]:
        """
        Bytes of stdout and stderr that were not kept.
        """
        first, second = self._both()
        return first.dropped() if first else 0, second.dropped() if second else 0

    def wants_lines(self, level: int) -> bool:
        """
        Whether anybody looks at the single lines of plain output.
        """
        return self._watch is not None or self._wanted(level)

    def pieces(self, level: int) -> Pieces | None:
        """
        What makes live output of the plain output of a level, if that is wanted.
        """
        return (
            Pieces(lambda data, offset: self._live(level, data, offset), self._one_by_one) if self._streaming else None
        )

    def _live(self, level: int, data: bytes, offset: int) -> None:
        message = plain_message(level, data, int(self._now() * SECOND), self._run, offset)
        self._records.stream(self._job, message, False)

    def _one_by_one(self, count: int) -> bool:
        """
        Whether there is room for a record for each of so many lines.
        """
        second = int(self._now())
        if second != self._second:
            self._second, self._lines_left = second, MAX_LINES
        if count > self._lines_left or count > self._records.room():
            return False
        self._lines_left -= count
        return True

    def partial(self) -> bool:
        """
        Whether parts of lines wait to become live.
        """
        return any(stream.partial() for stream in self._streams.values())

    def flush(self, but: int = 0) -> None:
        """
        Have them become live, but for those of one level.
        """
        for level in sorted(self._streams):
            pieces = self._streams[level].pieces
            if level != but and pieces is not None:
                pieces.flush()

    def clogged(self) -> bool:
        """
        Whether the program is to wait for those who read it.
        """
        return self._streaming and self._records.clogged(self._job)

    def printed_bytes(self) -> tuple[int, int]:
        """
        All of stdout and of stderr.
        """
        first, second = self._both()
        return first.tail.total if first else 0, second.tail.total if second else 0

    def emit(self, level: int, text: str) -> None:
        """
        Hand on a line to those who want it.
        """
        if self._wanted(level):
            self._records.log(self._job, level, text)
        if self._watch is not None:
            self._watch(text)

    def lines(self, level: int, lines: Lines, run: bytes) -> None:
        """
        Hand on the lines of plain output. What there is no room for is not even taken apart: a job that prints
        millions of lines must not keep core0 busy.
        """
        room = len(run) if self._watch is not None else self._records.room()
        beyond = run.split(b"\n", room)[room] if run.count(b"\n") > room else b""
        for line in lines.feed(run[: len(run) - len(beyond)]):
            self.emit(level, line.decode("utf-8", "replace"))
        if beyond:
            self._records.drop(lines.skip(beyond))

    def printed(self, level: int, run: bytes) -> None:
        """
        Take plain output of level 1 or 2, from whichever pipe.
        """
        self._stream(level).plain(run)

    def message(self, level: int, data: bytes, dropped: int) -> None:
        """
        Take a message with a level of its own.
        """
        if level in RESULT_LEVELS:
            self._result(level, data, dropped)
            if dropped or len(data) > MAX_MESSAGE:
                self._records.drop(self._wanted(level) + self._streaming)
                return
        text = data.decode("utf-8", "replace")
        if level == Level.CRITICAL:
            self.critical = text
        elif level == Level.STATSD and len(data) <= 4 * MAX_WORD:
            self._statsd(text)
        self.emit(level, text)
        self._tell_live(level, text)

    def _tell_live(self, level: int, text: str) -> None:
        if self._streaming:
            self.flush()  # what was printed before comes before it
            self._records.stream(self._job, Message(level, text, int(self._now() * SECOND), level << 16), False)

    def tell(self, text: str) -> None:
        """
        Add what core0 itself has to say of the program: a warning, and ``critical`` of a program that gives none.
        """
        self.critical = self.critical or text
        self.emit(Level.WARNING, text)
        self._tell_live(Level.WARNING, text)

    def fits(self, size: int, more: int) -> bool:
        """
        Whether there is room for a result that has so many bytes so far, ``more`` of them new.
        """
        if size > self._buffers.largest:
            return False
        more += len(self._data) + self._pending() - self._taken
        if more > 0:
            if not self._buffers.take(more):
                return False
            self._taken += more
        return True

    def _pending(self) -> int:
        return sum(stream.levels.pending for stream in self._streams.values())

    def _result(self, level: int, data: bytes, dropped: int) -> None:
        """
        The last one counts, be it kept or not.
        """
        if not dropped:
            self._data, self.level, self.refused = data, level, ""
        else:
            self._data, self.level = b"", 0
            largest = self._buffers.largest
            why = f"at most {largest} are kept ([jobs] result_buffer)"
            if dropped <= largest:
                why = "there is no memory for it beside the results of other jobs"
            self.refused = f"the program's result of level {level} has {dropped} bytes: {why}"
        spare = self._taken - len(self._data) - self._pending()
        if spare > 0:
            self._buffers.give_back(spare)
            self._taken -= spare

    def room(self) -> int:
        """
        How many messages can be handed on that have no other effect.
        """
        if self._watch is not None:
            return sys.maxsize
        return self._records.room() if self._streaming or any(map(self._wanted, MERE)) else 0

    def skipped(self, run: bytes) -> None:
        """
        Count messages that there was no room for.
        """
        counts = (run.count(b"\n%d::" % level) for level in MERE if self._wanted(level))
        self._records.drop(sum(counts) + (run.count(b"\n") if self._streaming else 0))

    def _statsd(self, text: str) -> None:
        key, colon, rest = text.partition(":")
        value, bar, kind = rest.partition("|")
        if not (key and colon and value and bar):
            return
        kind, _, tags = kind.partition("|")
        if any(len(word.encode()) > MAX_WORD for word in (key, value, kind, tags)):
            return
        fields: dict[str, str | int | float] = {
            "time": int(self._now() * 1000),
            "key": key,
            "value": value,
            "type": kind,
            "tags": tags,
        }
        self._records.sample(self._job, fields, 0.0)


class _Stream:
    __slots__ = ("_cut", "_level", "_lines", "_output", "levels", "pieces", "tail")

    def __init__(self, output: Output, level: Level, messages: bool) -> None:
        self._output = output
        self._level = level
        self._cut = 0
        self._lines = Lines(MAX_RECORD) if output.wants_lines(level) else None
        self.pieces = output.pieces(level)
        self.tail = Tail(output._limit)
        self.levels: Levels | Plain = Plain(self.plain)
        if messages:
            self.levels = Levels(
                self.plain, self._message, output._limit, output.room, output.skipped, output.printed, self._fits
            )

    def plain(self, run: bytes) -> None:
        self.tail.append(run)
        if self._lines is not None:
            self._output.lines(self._level, self._lines, run)
        if self.pieces is not None:
            self._output.flush(but=self._level)
            self.pieces.feed(run)

    def partial(self) -> bool:
        return self.pieces is not None and self.pieces.partial

    def _fits(self, size: int) -> bool:
        return self._output.fits(size, size - self.levels.pending)

    def _message(self, level: int, text: bytes, dropped: int) -> None:
        self._cut += dropped
        self._output.message(level, text, dropped)

    def dropped(self) -> int:
        return self.tail.dropped + self._cut

    def close(self) -> None:
        self.levels.close()

    def close_lines(self) -> None:
        """
        The last line needs no newline.
        """
        if self.pieces is not None:
            self.pieces.close()
        if self._lines is not None:
            for line in self._lines.close():
                self._output.emit(self._level, line.decode("utf-8", "replace"))


@implementer(IProcessProtocol)
class Printing(ProcessProtocol):
    """
    Hands what a program prints to its output, and says when it has ended.

    :param stdin: what it reads; None for nothing.
    :param spent: called with the size of that, once it has read all, or will read no more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        output: Output,
        stdin: bytes | None,
        spent: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._clock = clock
        self._output = output
        self._stdin = stdin
        self._fed = 0 if stdin is None else len(stdin)
        self._spent = spent
        self._parts: IDelayedCall | None = None
        self.exited: Occurrence[int] = Occurrence()
        self.closed: Occurrence[None] = Occurrence()

    def connectionMade(self) -> None:
        """
        Twisted's hook.
        """
        if self._stdin is not None:
            # buffered by the transport until the program reads it, if ever; its pipe breaks when it ends
            self.transport.write(self._stdin)  # type: ignore[union-attr]
            self.transport.closeStdin()  # type: ignore[union-attr]
            self._stdin = None

    def childConnectionLost(self, childFD: int) -> None:
        """
        Twisted's hook.
        """
        if childFD == 0:
            self._spent(self._fed)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Twisted's hook. What takes its time is not read again at once: others have half of the time.
        """
        begin = self._clock.seconds()
        self._output.feed(childFD, data)
        spent = self._clock.seconds() - begin
        if self._output.partial() and self._parts is None:
            self._parts = self._clock.callLater(PART, self._flush)
        if spent > EXPENSIVE:
            self.transport.pauseProducing()  # type: ignore[union-attr]
            self._clock.callLater(min(spent, LONGEST_BREAK), self._go_on)
        elif self._output.clogged():
            self.transport.pauseProducing()  # type: ignore[union-attr]
            self._clock.callLater(CLOGGED, self._go_on)

    def _go_on(self) -> None:
        """
        Read again, if it is read by others.
        """
        if self.closed.happened:
            return
        if self._output.clogged():
            self._clock.callLater(CLOGGED, self._go_on)
        else:
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def _flush(self) -> None:
        self._parts = None
        self._output.flush()

    def processExited(self, reason: Failure) -> None:
        """
        Twisted's hook: the program has ended; others may still hold its streams.
        """
        code = 0
        if isinstance(reason.value, ProcessTerminated):
            code = SIGNALLED + reason.value.signal if reason.value.signal else reason.value.exitCode or 0
        self.exited.happen(code)

    def processEnded(self, reason: Failure) -> None:
        """
        Twisted's hook: the streams are closed, too.
        """
        if self._parts is not None and self._parts.active():
            self._parts.cancel()
        self.closed.happen(None)
