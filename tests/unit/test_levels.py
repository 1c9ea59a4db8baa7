"""
A job's output is told apart into plain text, messages and lines, however it arrives.
"""

import re
import tracemalloc
from collections.abc import Iterable
from itertools import chain, repeat

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.levels import Levels
from core0.jobs.lines import Lines
from core0.messages import Level

KIB = 1 << 10
MIB = 1 << 20

Event = tuple[int, bytes, int] | tuple[int, bytes]  # a message, or text of level 1 or 2
Events = list[bytes | Event]
BEYOND = 3  # bytes by which results may be larger than other messages


def parse(pieces: Iterable[bytes], limit: int = MIB) -> Events:
    """
    What comes of these pieces, neighbouring plain runs joined.
    """
    events: Events = []

    def plain(run: bytes) -> None:
        assert run
        last = events[-1] if events else None
        if isinstance(last, bytes):
            events[-1] = last + run
        else:
            events.append(run)

    def output(level: int, run: bytes) -> None:
        assert run
        add_output(events, level, run)

    levels = Levels(
        plain,
        lambda level, text, dropped: events.append((level, text, dropped)),
        limit,
        output=output,
        fits=lambda size: size <= limit + BEYOND,
    )
    for piece in pieces:
        levels.feed(piece)
    levels.close()
    return events


def add_output(events: Events, level: int, run: bytes) -> None:
    """
    Neighbouring texts of the same level are one.
    """
    last = events[-1] if events else None
    if isinstance(last, tuple) and len(last) == 2 and last[0] == level:
        events[-1] = (level, last[1] + run)
    else:
        events.append((level, run))


def measure(pieces: Iterable[bytes], limit: int) -> int:
    """
    How many bytes came of these pieces, plain or as text, what was dropped included.
    """
    sizes: list[int] = []
    levels = Levels(
        lambda run: sizes.append(len(run)), lambda level, text, dropped: sizes.append(len(text) + dropped), limit
    )
    for piece in pieces:
        levels.feed(piece)
    levels.close()
    return sum(sizes)


def line_by_line(data: bytes, limit: int = MIB) -> Events:
    """
    The same by the words of the protocol, with all the output at hand and no thought of speed.
    """
    events: Events = []
    runs: list[bytes] = []
    block: tuple[int, list[bytes]] | None = None

    def message(level: int, raw: bytes) -> None:
        if runs:
            events.append(b"".join(runs))
            runs.clear()
        text = raw.removesuffix(b"\n")
        if level <= 2:
            if raw:
                add_output(events, level, raw)
        elif level >= 20:
            events.append((level, text, 0) if len(text) <= limit + BEYOND else (level, b"", len(text)))
        else:
            events.append((level, text[:limit], max(len(text) - limit, 0)))

    for line in re.findall(rb"[^\n]*\n|[^\n]+", data):
        text = line.removesuffix(b"\n")
        if block is not None:
            if text == b":::":
                message(block[0], b"".join(block[1]))
                block = None
            else:
                block[1].append(line)
            continue
        number, colons, rest = text.partition(b"::")
        if not colons or number not in {str(level.value).encode() for level in Level}:
            runs.append(line)
        elif rest.startswith(b":"):
            block = int(number), [line[len(number) + 3 :]]
        else:
            message(int(number), line[len(number) + 2 :])
    if block is not None:
        message(block[0], b"".join(block[1]))
    if runs:
        events.append(b"".join(runs))
    return events


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """
    ``data`` in pieces; places beyond its end are taken from its beginning again.
    """
    stops = sorted(place % (len(data) + 1) for place in places)
    return [data[start:stop] for start, stop in zip([0, *stops], [*stops, len(data)], strict=True)]


TOKENS = st.sampled_from(
    [b"\n", b":", b"::", b":::", b"\n:::\n", b"1", b"0", b"2", b"3", b"30", b"12", b"\r", b"a", b"some text", b"\xff"]
    + [b"\n%d::" % level for level in (1, 3, 10, 20, 30, 12, 24)]
    + [b"\n%d:::" % level for level in (2, 11, 23, 5)]
)
OUTPUT = st.one_of(st.binary(max_size=60), st.lists(TOKENS, max_size=30).map(b"".join))
PLACES = st.lists(st.integers(0, 400), max_size=12)


class LevelsTests(SynchronousTestCase):
    """
    Messages and plain text.
    """

    @settings(max_examples=1500, deadline=None)
    @given(OUTPUT, PLACES, st.sampled_from([MIB, 0, 1, 5]))
    def test_any_split(self, data: bytes, places: list[int], limit: int) -> None:
        """
        Output means the same in one piece, byte by byte and in any pieces, and what the protocol says line by line.
        """
        expected = line_by_line(data, limit)
        self.assertEqual(expected, parse([data], limit))
        self.assertEqual(expected, parse(cut(data, places), limit))
        self.assertEqual(expected, parse((data[at : at + 1] for at in range(len(data))), limit))

    def test_message(self) -> None:
        """
        A line that begins with a level is a message, and no part of the plain text around it.
        """
        self.assertEqual([b"abc\n", (3, b"hi", 0), b"def\n"], parse([b"abc\n3::hi\ndef\n"]))

    def test_levels_of_the_table(self) -> None:
        """
        Every level of the table makes a message, and any other number is plain text.
        """
        for number in range(2100):
            line = b"%d::x\n" % number
            message: Event = (number, b"x\n") if number <= 2 else (number, b"x", 0)
            expected: Events = [message] if number in list(Level) else [line]
            self.assertEqual(expected, parse([line]))

    def test_no_level(self) -> None:
        """
        A number that is not written as in the table, or not at the beginning of its line, is plain text.
        """
        for line in (b"007::x", b"01::x", b" 1::x", b"+1::x", b"1 ::x", b"1:x", b"::x", b":::", b"x 3::y", b"\r3::y"):
            self.assertEqual([line], parse([line]))
            self.assertEqual([b"\n" + line + b"\n"], parse([b"\n" + line + b"\n"]))

    def test_first_two_levels(self) -> None:
        """
        Lines of level 1 and 2 are output of that number, newlines included, of any length.
        """
        self.assertEqual([(1, b"out\n"), (2, b"err\n"), b"x"], parse([b"1::out\n2::err\nx"]))
        self.assertEqual([(1, b"a\nb\n\nc")], parse([b"1::a\n1:::b\n\n:::\n1::", b"c"], 0))
        self.assertEqual([(2, b"abc\n"), b"d\n", (2, b"e")], parse([b"2::", b"ab", b"c\nd\n2:::e"], 1))

    def test_whole_results(self) -> None:
        """
        A result is kept whole, or not at all; how long it was is known.
        """
        self.assertEqual([(20, b"1234567", 0), (21, b"", 8)], parse([b"20::1234567\n21:::1234", b"\n678\n:::\n"], 4))
        self.assertEqual([(20, b"", 9), (20, b"12", 0)], parse([b"20::1", b"23456789\n", b"20::12"], 4))

    def test_block(self) -> None:
        """
        A block goes on to a line of three colons, prefixes in it are text, and its first line counts even if empty.
        """
        self.assertEqual([(20, b"\n{}", 0), b"x"], parse([b"20:::\n{}\n:::\nx"]))
        self.assertEqual([(9, b"a\n3::b\n4:::c\n ::: ", 0)], parse([b"9:::a\n3::b\n4:::c\n ::: \n:::\n"]))

    def test_block_ends_only_after_its_first_line(self) -> None:
        """
        Three colons behind the prefix are the text of the first line; three alone end even an empty block.
        """
        self.assertEqual([(9, b":::\nx", 0)], parse([b"9::::::\nx\n:::"]))
        self.assertEqual([(9, b"", 0), b":::\n"], parse([b"9:::\n:::\n:::\n"]))

    def test_end_of_stream(self) -> None:
        """
        The last line needs no newline, and a block that is still open is a message.
        """
        self.assertEqual([(20, b"a\nb", 0)], parse([b"20:::a\nb\n"]))
        self.assertEqual([(20, b"a\nb", 0)], parse([b"20:::a\nb"]))
        self.assertEqual([(20, b"a\n", 0)], parse([b"20:::a\n\n"]))
        self.assertEqual([(20, b"a", 0)], parse([b"20:::a\n:::"]))
        self.assertEqual([(20, b"a\n::", 0)], parse([b"20:::a\n::"]))
        self.assertEqual([(30, b"", 0)], parse([b"30::"]))
        self.assertEqual([(30, b"", 0)], parse([b"30:::"]))
        self.assertEqual([(30, b"x", 0)], parse([b"30::x"]))
        self.assertEqual([b"30:"], parse([b"30:"]))
        self.assertEqual([], parse([]))

    def test_carriage_return(self) -> None:
        """
        A carriage return stays, in plain text and in messages, and a line that has one does not end a block.
        """
        self.assertEqual([b"a\r\n", (3, b"b\r", 0)], parse([b"a\r\n3::b\r\n"]))
        self.assertEqual([(3, b"a\r\n:::\r", 0)], parse([b"3:::a\r\n:::\r\n"]))

    def test_held_back(self) -> None:
        """
        Plain text is given out at once, but for the beginning of a line that may still become a message.
        """
        runs: list[bytes] = []
        levels = Levels(runs.append, lambda level, text, dropped: None, MIB)
        levels.feed(b"30:")
        self.assertEqual([], runs)
        levels.feed(b"x 1::")
        self.assertEqual([b"30:x 1::"], runs)
        levels.feed(b"\n12")
        levels.feed(b"\n11::")
        self.assertEqual(b"30:x 1::\n12\n", b"".join(runs))

    def test_cut_message(self) -> None:
        """
        The end of a message beyond the limit is dropped and counted, and what follows is not touched by it.
        """
        self.assertEqual(
            [(3, b"abcd", 0), (4, b"abcd", 2), (5, b"ab\nc", 3)], parse([b"3::abcd\n4::abcdef\n5:::ab\ncd\ne"], 4)
        )
        self.assertEqual([(3, b"abcd", 5), (4, b"abc", 0)], parse([b"3::ab", b"cdef", b"ghi\n4::abc"], 4))

    def test_endless_lines(self) -> None:
        """
        Neither a plain line, nor a message, nor a block takes more memory the longer it goes on.
        """
        piece = b"x" * (64 * KIB - 1) + b":"
        for start, end, newlines in ((b"", b"\n", 1), (b"3::", b"\n", 0), (b"3:::", b"\n:::\n", 0)):
            pieces = chain([start], repeat(piece, 1024), [end])
            tracemalloc.start()
            size = measure(pieces, 128 * KIB)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            self.assertEqual(64 * MIB + newlines, size)
            self.assertLess(peak, 512 * KIB)


class LinesTests(SynchronousTestCase):
    """
    Lines by themselves.
    """

    @settings(max_examples=500, deadline=None)
    @given(st.lists(st.sampled_from([b"\n", b"a", b"bcd", b"efghijkl"]), max_size=30), PLACES, st.integers(1, 9))
    def test_any_split(self, tokens: list[bytes], places: list[int], limit: int) -> None:
        """
        Lines are the same in whatever pieces they come, and only those beyond the limit are cut.
        """
        data = b"".join(tokens)
        expected: list[bytes] = []
        for line in re.findall(rb"[^\n]*\n|[^\n]+", data):
            text = line.removesuffix(b"\n")
            expected += re.findall(rb".{1,%d}" % limit, text) or [b""]
        for pieces in ([data], cut(data, places), [data[at : at + 1] for at in range(len(data))]):
            lines = Lines(limit)
            got = [line for piece in pieces for line in lines.feed(piece)]
            self.assertEqual(expected, got + lines.close())

    def test_lines(self) -> None:
        """
        Empty lines and carriage returns stay, newlines go, and the last line needs none.
        """
        lines = Lines(100)
        self.assertEqual([b"a\r", b"", b"b"], lines.feed(b"a\r\n\nb\nc"))
        self.assertEqual([], lines.feed(b"d"))
        self.assertEqual([b"cd"], lines.close())

    def test_long_line(self) -> None:
        """
        A line beyond the limit comes in pieces as it goes on; one of just that length comes whole.
        """
        lines = Lines(4)
        self.assertEqual([b"abcd"], lines.feed(b"abcd\n"))
        self.assertEqual([b"abcd", b"efgh"], lines.feed(b"abcdefghi"))
        self.assertEqual([b"ijkl", b"m", b""], lines.feed(b"jklm\n\n"))
        self.assertEqual([], lines.close())
