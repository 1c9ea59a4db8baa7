"""
Shows the output of a job while it comes, and makes it whole when the result is there.

Live output is lines without their newlines, and some are missing if they come too fast. The result has each stream as
it was written, but only its end. Together they are exact wherever that is possible.
"""

from collections.abc import Sequence
from typing import BinaryIO

from twisted.internet.interfaces import IReactorTime

from core0.client.client import Batch, is_last
from core0.messages import Level, Record, Result

KEEP = 1 << 20  # bytes; what a result has of a stream, unless it is configured otherwise
HOLD = 2.0  # seconds that output is held back for the sake of being exact
LONG_LINE = (32 << 10) - 3  # bytes; a record of that size may be a piece of a line
PROBE = 256  # bytes by which the place in a stream is found again
TRAILING = 2  # records that may be last lines without a newline: one of each stream
SHOWN = frozenset({Level.USER, Level.OPERATOR, Level.WARNING, Level.OPS_ERROR, Level.CRITICAL})


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
        self.write(2, text.encode("utf-8", "replace") + b"\n")
        self.flush()

    def flush(self) -> None:
        """
        Have it all appear.
        """
        self._last.flush()


class Echo:
    """
    One stream of a job, written again.
    """

    def __init__(self, screen: Screen, fd: int) -> None:
        self._screen = screen
        self._fd = fd
        self._length = 0
        self._printed = bytearray()  # the end of it

    def add(self, data: bytes) -> None:
        """
        Go on with this.
        """
        self._screen.write(self._fd, data)
        self._length += len(data)
        self._printed += data
        if len(self._printed) > 2 * KEEP:
            del self._printed[:-KEEP]

    def finish(self, kept: bytes, before: int, whole: bool) -> bool:
        """
        Add what is not written yet of the end of the stream.

        :param before: bytes of it before those that are kept.
        :param whole: what was written is the beginning of the stream, and nothing is missing in it.
        :returns: whether everything has been written.
        """
        if not kept and not before:
            return True
        end = self._length - before
        if whole and end < 0:
            self.add(kept)
            return False
        overlap = min(max(end, 0), len(self._printed))
        if whole and kept[end - overlap : end] == self._printed[len(self._printed) - overlap :]:
            self.add(kept[end:])
            return True
        self.add(self._beyond(kept))
        return False

    def _beyond(self, kept: bytes) -> bytes:
        """
        What follows in ``kept`` on what was written last.
        """
        if self._printed.endswith(kept):
            return b""
        probe = bytes(self._printed[-PROBE:])
        place = kept.rfind(probe) if probe else -1
        return kept if place < 0 else kept[place + len(probe) :]


class Live:
    """
    :param clock: output is held back for some time at most.
    """

    def __init__(self, clock: IReactorTime, screen: Screen) -> None:
        self._clock = clock
        self._screen = screen
        self._echoes = {Level.STDOUT: Echo(screen, 1), Level.STDERR: Echo(screen, 2)}
        self._next: list[Record] = []  # wait for what comes after them
        self._held: list[Record] | None = None
        self._size = 0
        self._whole = True
        self._until = 0.0

    def show(self, batch: Batch) -> None:
        """
        Show some records, as far as it is clear now how. To be called with empty batches, too.
        """
        records = [*self._next, *(record for record in batch.records if not is_last(record))]
        shown = len(records)
        if batch.last:
            shown = 0  # the result tells how the last lines end
        elif batch.more:
            shown = max(0, shown - TRAILING)
        records, self._next = records[:shown], records[shown:]
        if self._whole and self._held is None and (batch.gap or any(map(_ambiguous, batch.records))):
            self._hold()
        self._print(records)
        if self._held is not None and self._clock.seconds() >= self._until:
            self._release()
        self._screen.flush()

    def _hold(self) -> None:
        """
        Wait for the result, if it comes soon: it knows better.
        """
        self._held = []
        self._until = self._clock.seconds() + HOLD

    def _release(self) -> None:
        """
        Show what there is.
        """
        held, self._held = self._held or [], None
        self._whole = False
        self._print(held)

    def _print(self, records: Sequence[Record], unended: frozenset[int] = frozenset()) -> None:
        """
        :param unended: places of lines without a newline.
        """
        if self._held is not None:
            self._held += records
            self._size += sum(len(record.message.message) for record in records)
            if self._size > KEEP:
                self._release()
            return
        for place, record in enumerate(records):
            level, text = record.message.level, record.message.message
            if level in self._echoes:
                newline = b"" if place in unended or _ambiguous(record) else b"\n"
                self._echoes[Level(level)].add(text.encode("utf-8", "replace") + newline)
            elif level in SHOWN:
                self._screen.say(text)

    def finish(self, result: Result) -> bool:
        """
        Show what is left.

        :returns: whether all of the output has been shown.
        """
        once = result.runs <= 1  # else the result has only the last run's
        if self._held is not None and not once:
            self._release()
        records, self._next = self._next, []
        if self._held is not None:
            # the streams of the result stand in for them
            records = [record for record in (*self._held, *records) if record.message.level not in self._echoes]
            self._held = None
        self._print(records, _unended(records, result.streams))
        finished = [
            echo.finish(text.encode("utf-8", "replace"), before, self._whole and once)
            for echo, text, before in zip(self._echoes.values(), result.streams, result.truncated, strict=True)
        ]
        self._screen.flush()
        return all(finished) if once else self._whole


def _ambiguous(record: Record) -> bool:
    """
    Whether a record may be a piece of a long line: then its line may go on.
    """
    level, text = record.message.level, record.message.message
    return level in (Level.STDOUT, Level.STDERR) and len(text.encode("utf-8", "replace")) >= LONG_LINE


def _unended(records: Sequence[Record], streams: Sequence[str]) -> frozenset[int]:
    """
    The places of those that are the last line of a stream which does not end with a newline.
    """
    found: set[int] = set()
    for level, text in zip((Level.STDOUT, Level.STDERR), streams, strict=True):
        places = [place for place, record in enumerate(records) if record.message.level == level]
        if places and not text.endswith("\n"):
            found.add(places[-1])
    return frozenset(found)
