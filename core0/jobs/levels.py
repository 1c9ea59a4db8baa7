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
MERE: Final = tuple(level for level in Level if level not in (*RESULT_LEVELS, Level.CRITICAL, Level.STATSD))
_LINE_END: Final = b"\n"
_BLOCK_END: Final = b"\n:::\n"


@cache
def _mere(limit: int) -> re.Pattern[bytes]:
    """
    A run of whole lines, each a message that only records are made of.
    """
    levels = b"|".join(b"%d" % level for level in MERE)
    return re.compile(rb"(?:\n(?:%s)::(?!:)[^\n]{0,%d}(?=\n))+" % (levels, min(limit, 1 << 30)))


class Levels:
    """
    Splits one stream of output, in pieces of any size, into plain runs and messages, in the order in which they came.

    A plain run is whatever stands between two messages, its newlines included, and costs no work per line; a run that
    is followed by a message ends with a newline. Besides the message that is being read, at most 5 bytes are held back.

    :param plain: called with each run; never with an empty one.
    :param message: called with the level, the text, and how many bytes of the text were dropped at its end.
    :param limit: how many bytes of the text of a message are kept.
    :param room: how many messages that only records are made of there is room for.
    :param skipped: called with a run of such messages, instead of ``message`` for each, when there is none: each of
        them is a line, and begins with the newline before it.
    """

    __slots__ = (
        "_dropped",
        "_end",
        "_held",
        "_level",
        "_limit",
        "_mere",
        "_message",
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
    ) -> None:
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

    def close(self) -> None:
        """
        Take the end of the stream: what is held back is given out, and a message that is still open is complete.
        """
        held, self._held = self._held, b""
        if self._level:
            # The end of the stream stands in for the newline of the last line, be it text or the end of the block.
            if held not in (_LINE_END, _BLOCK_END[:-1]):
                self._keep(held, 0, len(held))
            self._finish()
        elif held in _UNDECIDED:
            self._message(_LEVELS[held[1:-2]], b"", 0)
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
            room = room or self._room()
            if not room and (run := self._mere(data, start)) is not None:
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
        self._level = _LEVELS[number]
        self._end = _BLOCK_END if block else _LINE_END
        return self._read(data, text)

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
        room = self._limit - len(self._text)
        if stop - begin > room:
            self._dropped += stop - begin - room
            stop = begin + room
        self._text += data[begin:stop]

    def _finish(self) -> None:
        level, text, dropped = self._level, bytes(self._text), self._dropped
        self._level = 0
        self._text = bytearray()
        self._dropped = 0
        self._message(level, text, dropped)

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
