"""
Tells the messages in a job's output from its plain text, as the output comes in.
"""

import re
import sys
from collections.abc import Callable
from functools import cache
from typing import Final

from core0.messages import RESULT_LEVELS, Level

_LEVELS: Final = {b"%d" % level: int(level) for level in Level}
_PREFIX: Final = re.compile(rb"\n(%s)::(:|(?=[^:]))" % b"|".join(_LEVELS))
_UNDECIDED: Final = frozenset(b"\n%s::" % level for level in _LEVELS)
_STARTS: Final = frozenset(prefix[:length] for prefix in _UNDECIDED for length in range(1, len(prefix) + 1))
_LONGEST: Final = max(map(len, _STARTS))
# A regular expression finds two colons 3 times as fast as bytes.find.
_has_colons: Final = re.compile(b"::").search
_OUTPUT: Final = frozenset({Level.STDOUT, Level.STDERR})
_OUTPUT_NUMBERS: Final = frozenset(b"%d" % level for level in _OUTPUT)
MERE: Final = tuple(level for level in Level if level not in (*RESULT_LEVELS, *_OUTPUT, Level.CRITICAL, Level.STATSD))
_LINE_END: Final = b"\n"
_BLOCK_END: Final = b"\n:::\n"


@cache
def _mere(limit: int) -> re.Pattern[bytes]:
    """
    A run of whole lines, each a message that only records are made of.
    """
    levels = b"|".join(b"%d" % level for level in MERE)
    return re.compile(rb"(?:\n(?:%s)::(?!:)[^\n]{0,%d}(?=\n))+" % (levels, min(limit, 1 << 30)))


@cache
def _whole_lines(number: bytes) -> Callable[[bytes, int], re.Match[bytes] | None]:
    """
    Finds a run of whole lines with this prefix.
    """
    return re.compile(rb"(?:\n%s::(?!:)[^\n]*(?=\n))+" % number).match


class Levels:
    """
    Splits one stream of output, in pieces of any size, into plain runs and messages, in the order in which they came.

    A plain run is whatever stands between two messages, its newlines included, and costs no work per line; a run that
    is followed by a message ends with a newline. Besides the message that is being read, at most 5 bytes are held back.

    :param plain: called with each run; never with an empty one.
    :param message: called with the level, the text, and how many bytes of the text were dropped at its end; of a result
        all of them or none.
    :param limit: how many bytes of the text of a message are kept.
    :param room: how many messages that only records are made of there is room for.
    :param skipped: called with a run of such messages, instead of ``message`` for each, when there is none: each of
        them is a line, and begins with the newline before it.
    :param output: called with level 1 or 2 and text with that prefix, newlines included; of any length, as it comes.
    :param fits: whether a result of so many bytes, more than ``limit``, is kept; asked again as it grows.
    """

    __slots__ = (
        "_dropped",
        "_end",
        "_fits",
        "_held",
        "_level",
        "_limit",
        "_mere",
        "_message",
        "_output",
        "_plain",
        "_room",
        "_skipped",
        "_text",
    )

    def __init__(
        self,
        plain: Callable[[bytes], None],
        message: Callable[[int, bytes, int], None],
        limit: int,
        room: Callable[[], int] = lambda: sys.maxsize,
        skipped: Callable[[bytes], None] = lambda run: None,
        output: Callable[[int, bytes], None] = lambda level, run: None,
        fits: Callable[[int], bool] = lambda size: False,
    ) -> None:
        self._output = output
        self._fits = fits
        self._room = room
        self._skipped = skipped
        self._mere = _mere(limit).match
        self._plain = plain
        self._message = message
        self._limit = limit
        self._level = 0
        self._end = _LINE_END
        self._text = bytearray()
        self._dropped = 0
        # What the next piece is read behind. In plain text it begins with the newline before the line, which has
        # already been given out: so that the first line of all looks like the others.
        self._held = _LINE_END

    def feed(self, data: bytes) -> None:
        """
        Take the next piece of the stream.
        """
        held, self._held = self._held, b""
        if held:
            data = held + data
        if self._level:
            newline = self._read(data, 0)
            if newline < 0:
                return
            begin = newline + 1
        else:
            newline = 0
            begin = 1 if held else 0
        if _has_colons(data, newline):
            begin = self._split(data, newline, begin)
        if begin >= 0:
            self._give_rest(data, begin)

    @property
    def pending(self) -> int:
        """
        Bytes of the message that is being read.
        """
        return len(self._text)

    def close(self) -> None:
        """
        Take the end of the stream: what is held back is given out, and a message that is still open is complete.
        """
        held, self._held = self._held, b""
        if self._level:
            # The end of the stream stands in for the newline of the last line, be it text or the end of the block.
            ended = held in (_LINE_END, _BLOCK_END[:-1])
            if not ended:
                self._keep(held, 0, len(held))
            self._finish(_LINE_END if ended else b"")
        elif held in _UNDECIDED:
            if (level := _LEVELS[held[1:-2]]) not in _OUTPUT:
                self._message(level, b"", 0)
        elif len(held) > 1:
            self._plain(held[1:])

    def _split(self, data: bytes, search: int, begin: int) -> int:
        """
        Give out what ``data`` has up to the end of its last message.

        :param search: where to look for prefixes from; that of a first line is looked for at the newline before it.
        :param begin: where the plain text begins.
        :returns: where the plain text behind the last message begins; -1 if that message goes on.
        """
        room = self._room()
        match = _PREFIX.search(data, search)
        while match is not None:
            start = match.start()
            if start >= begin:
                self._plain(data[begin : start + 1])
            if match[1] in _OUTPUT_NUMBERS:
                newline = self._print(data, match)
            elif not (room := room or self._room()) and (run := self._mere(data, start)) is not None:
                self._skipped(run[0])
                newline = run.end()
            else:
                room = max(room - 1, 0)
                newline = self._take(data, match)
            if newline < 0:
                return -1
            begin = newline + 1
            match = _PREFIX.search(data, newline)
        return begin

    def _print(self, data: bytes, match: re.Match[bytes]) -> int:
        """
        Give out lines of level 1 or 2, or open one.

        :returns: where the newline is that ends the last one; -1 if it goes on.
        """
        number, block = match.groups()
        if not block and (run := _whole_lines(number)(data, match.start())) is not None:
            self._output(_LEVELS[number], run[0].replace(b"\n%s::" % number, _LINE_END)[1:] + _LINE_END)
            return run.end()
        return self._open(data, match)

    def _take(self, data: bytes, match: re.Match[bytes]) -> int:
        """
        Give out one message, or open it.

        :returns: where the newline is that ends it; -1 if it goes on.
        """
        number, block = match.groups()
        text = match.end()
        if not block:
            newline = data.find(_LINE_END, text)
            if 0 <= newline <= text + self._limit:
                self._message(_LEVELS[number], data[text:newline], 0)
                return newline
        return self._open(data, match)

    def _open(self, data: bytes, match: re.Match[bytes]) -> int:
        number, block = match.groups()
        self._level = _LEVELS[number]
        self._end = _BLOCK_END if block else _LINE_END
        return self._read(data, match.end())

    def _read(self, data: bytes, begin: int) -> int:
        """
        Go on with the open message.

        :returns: where the newline is that ends it; -1 if it goes on.
        """
        stop = data.find(self._end, begin)
        if stop < 0:
            stop = len(data)
            if self._end is _BLOCK_END:
                stop -= _overlap(data, begin)
                self._held = data[stop:]
            self._keep(data, begin, stop)
            return -1
        self._keep(data, begin, stop)
        self._finish()
        return stop + len(self._end) - 1

    def _keep(self, data: bytes, begin: int, stop: int) -> None:
        size = stop - begin
        if self._level in _OUTPUT:
            if size:
                self._output(self._level, data[begin:stop])
        elif self._level in RESULT_LEVELS:
            self._keep_result(data[begin:stop])
        else:
            room = self._limit - len(self._text)
            if size > room:
                self._dropped += size - room
                stop = begin + room
            self._text += data[begin:stop]

    def _keep_result(self, data: bytes) -> None:
        """
        Half a result is none.
        """
        size = len(self._text) + len(data)
        if not self._dropped and (size <= self._limit or self._fits(size)):
            self._text += data
        else:
            self._dropped += size
            self._text = bytearray()

    def _finish(self, newline: bytes = _LINE_END) -> None:
        level, text, dropped = self._level, bytes(self._text), self._dropped
        self._level = 0
        self._text = bytearray()
        self._dropped = 0
        if level not in _OUTPUT:
            self._message(level, text, dropped)
        elif newline:
            self._output(level, newline)

    def _give_rest(self, data: bytes, begin: int) -> None:
        """
        Give out the plain text at the end of ``data``, but for a line of which it is not yet clear what it becomes.
        """
        stop = len(data)
        newline = data.rfind(_LINE_END, max(begin - 1, stop - _LONGEST, 0))
        if newline >= 0 and data[newline:] in _STARTS:
            self._held = data[newline:]
            stop = newline + 1
        if stop > begin:
            self._plain(data[begin:stop])


def _overlap(data: bytes, begin: int) -> int:
    """
    How many bytes at the end of ``data`` may turn out to begin the end of a block.
    """
    for length in range(min(len(_BLOCK_END) - 1, len(data) - begin), 0, -1):
        if data.endswith(_BLOCK_END[:length]):
            return length
    return 0


class Plain:
    """
    In the place of :class:`Levels` for a stream without messages.
    """

    __slots__ = ("feed",)
    pending = 0

    def __init__(self, plain: Callable[[bytes], None]) -> None:
        self.feed = plain

    def close(self) -> None:
        """
        Nothing was held back.
        """
