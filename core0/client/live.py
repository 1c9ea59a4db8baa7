"""
Shows the output of a job while it comes, and makes it whole when the result is there.

Live output says of each piece where it stands in its stream. So a piece that comes twice is recognised, and so is one
that is missing. The result has the end of each stream, as text; it makes up for what is missing, as far as that goes.
"""

from collections.abc import Sequence
from typing import BinaryIO

from msgspec import UNSET, UnsetType
from twisted.internet.interfaces import IReactorTime

from core0.client.client import Batch, is_last, output_bytes
from core0.log_text import escaped
from core0.messages import Level, Record, Result

KEEP = 1 << 20  # bytes; what a result has of a stream, unless it is configured otherwise
HOLD = 2.0  # seconds that output is held back for the sake of being exact
LONG_LINE = (32 << 10) - 3  # bytes; a record of that size that has no place may be a piece of a line
SHOWN = frozenset({Level.USER, Level.OPERATOR, Level.WARNING, Level.OPS_ERROR, Level.CRITICAL})
REPLACED = "\ufffd"  # in the text of a result: what the bytes were is not known


class Screen:
    """
    Two files that may be the same terminal: what is written to one appears before what is written to the other later.
    """

    def __init__(self, out: BinaryIO, err: BinaryIO) -> None:
        self._files = (out, err)
        self._last = out

    def write(self, fd: int, data: bytes) -> None:
        """
        Write to descriptor 1 or 2.
        """
        file = self._files[fd - 1]
        if file is not self._last:
            self._last.flush()
            self._last = file
        file.write(data)

    def say(self, text: str) -> None:
        """
        Write a line to descriptor 2.
        """
        self.write(2, escaped(text).encode("utf-8", "replace") + b"\n")
        self.flush()

    def flush(self) -> None:
        """
        Have it all appear.
        """
        self._last.flush()


class Echo:
    """
    One stream of a job, written again.

    :ivar placed: whether its records say where they stand.
    :ivar run: of which run it is: when that began.
    :ivar position: bytes of that run's stream that have come, those that are missing included.
    :ivar missing: bytes of all runs.
    """

    def __init__(self, screen: Screen, fd: int) -> None:
        self._screen = screen
        self._fd = fd
        self._owed = b""  # a newline of a record without a place: it may have been the last one, without a newline
        self.placed = False
        self._past: set[int | UnsetType] = set()
        self.run = 0
        self.position = 0
        self.missing = 0

    def add(self, data: bytes) -> None:
        """
        Go on with this.
        """
        self._screen.write(self._fd, data)
        self.position += len(data)

    def follows(self, record: Record) -> bool:
        """
        Whether nothing is missing before a record.
        """
        message = record.message
        if message.offset is UNSET or message.run in self._past:
            return True
        return message.offset <= (self.position if message.run == self.run else 0)

    def show(self, record: Record) -> None:
        """
        Write what is new in a record.
        """
        message = record.message
        data = output_bytes(record)
        if message.offset is UNSET:
            self._show_line(data)
            return
        self.placed = True
        if message.run in self._past:
            return  # it comes again
        if message.run is not UNSET:
            self.begin(message.run)
        if message.offset > self.position:
            self.missing += message.offset - self.position
            self.position = message.offset
        self.add(data[self.position - message.offset :])

    def _show_line(self, line: bytes) -> None:
        """
        Of a Core that does not say where a line stands.
        """
        self.add(self._owed)
        self._owed = b"" if len(line) > LONG_LINE else b"\n"
        self.add(line[:-1])

    def begin(self, run: int) -> None:
        """
        What follows is of this run.
        """
        if run != self.run:
            self._past.add(self.run)
            self.run, self.position = run, 0

    def end(self, text: str) -> None:
        """
        Write the newline at the end of what has no places: the result tells whether there is one.
        """
        if text.endswith("\n"):
            self.add(self._owed)

    def rest(self, text: str, end: int) -> bytes | None:
        """
        What is missing at the end of the stream, from a result.

        :param end: bytes of the stream.
        :returns: None if the result does not have it all.
        """
        if end <= self.position:
            return b""
        kept = text.encode("utf-8", "replace")
        start = end - len(kept)
        # of an older Core only the text is known, so it is compared with text
        exact = REPLACED not in text or not self.placed
        return kept[self.position - start :] if exact and start <= self.position else None


class Live:
    """
    :param clock: output is held back for some time at most.
    """

    def __init__(self, clock: IReactorTime, screen: Screen) -> None:
        self._clock = clock
        self._screen = screen
        self._echoes = {Level.STDOUT: Echo(screen, 1), Level.STDERR: Echo(screen, 2)}
        self._held: list[Record] | None = None
        self._size = 0
        self._until = 0.0
        self._gap = False
        self._ends: tuple[int, int] | None = None

    @property
    def missing(self) -> int:
        """
        Bytes of output that have not been shown.
        """
        return sum(echo.missing for echo in self._echoes.values())

    def show(self, batch: Batch) -> None:
        """
        Show some records, as far as it is clear now how. To be called with empty batches, too.
        """
        for record in batch.records:
            if is_last(record):
                ends = record.message.ends
                self._ends = None if ends is UNSET else ends
        records = [record for record in batch.records if not is_last(record)]
        if batch.gap and any(record.message.offset is UNSET for record in records if self._is_output(record)):
            self._gap = True
        self._print(records)
        if self._held is not None and self._clock.seconds() >= self._until:
            self._release()
        self._screen.flush()

    def _is_output(self, record: Record) -> bool:
        return record.message.level in self._echoes

    def _print(self, records: Sequence[Record]) -> None:
        for place, record in enumerate(records):
            if self._held is None and not self._follows(record):
                # the result may have what is missing, if it comes soon
                self._held, self._size = [], 0
                self._until = self._clock.seconds() + HOLD
            if self._held is not None:
                self._hold(records[place:])
                return
            self._show(record)

    def _follows(self, record: Record) -> bool:
        return not self._is_output(record) or self._echoes[Level(record.message.level)].follows(record)

    def _hold(self, records: Sequence[Record]) -> None:
        assert self._held is not None
        self._held += records
        self._size += sum(len(record.message.message) for record in records)
        if self._size > KEEP:
            self._release()

    def _release(self) -> None:
        """
        Show what there is.
        """
        held, self._held = self._held or [], None
        for record in held:
            self._show(record)

    def _show(self, record: Record) -> None:
        if self._is_output(record):
            self._echoes[Level(record.message.level)].show(record)
        elif record.message.level in SHOWN:
            # of the program itself: as it is, like its output
            self._screen.write(2, record.message.message.encode("utf-8", "replace") + b"\n")
            self._screen.flush()

    def finish(self, result: Result) -> bool:
        """
        Show what is left.

        :returns: whether all of the output has been shown.
        """
        held, self._held = self._held or [], None
        for place, (level, echo) in enumerate(self._echoes.items()):
            text, before = result.streams[place], result.truncated[place]
            end = before + len(text.encode("utf-8", "replace")) if self._ends is None else self._ends[place]
            echo.placed |= self._ends is not None
            if echo.placed:
                echo.begin(result.starttime)
            else:
                if echo.position > end or self._gap:
                    echo.end(text)
                if self._gap:
                    continue
            rest = echo.rest(text, end)
            if rest is None:
                for record in held:
                    if record.message.level == level:
                        echo.show(record)
                rest = echo.rest(text, end)
            if rest is None:
                echo.missing += self._show_end(echo, text, end)
            else:
                echo.add(rest)
        for record in held:
            if not self._is_output(record):
                self._show(record)
        self._screen.flush()
        return not self.missing and not self._gap

    @staticmethod
    def _show_end(echo: Echo, text: str, end: int) -> int:
        """
        Show the end of a stream of which some is missing before it, or not as it was.

        :returns: how many bytes are missing.
        """
        kept = text.encode("utf-8", "replace")
        missing = max(end - len(kept) - echo.position, 0)
        if REPLACED not in text:
            echo.add(kept)
            return missing
        missing = end - echo.position
        if not echo.position:
            echo.add(kept)  # nearly as it was
        return missing
