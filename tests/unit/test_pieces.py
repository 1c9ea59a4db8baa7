"""
Plain output becomes pieces of live output.
"""

from base64 import b64decode
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.client.client import output_bytes
from core0.jobs.output import MAX_LINES, PART, Output, Printing
from core0.jobs.pieces import MAX_PIECE, Pieces, unfinished
from core0.jobs.results import ResultBuffers
from core0.messages import Record, plain_message
from tests.fakes import MemoryRecords
from tests.work import make_job

DATA = st.lists(st.sampled_from([b"\n", b"a", b"\r", "é漢".encode(), b"\xff", b"\xe6", b"x\n"]) | st.binary(max_size=5))


class PiecesTests(SynchronousTestCase):
    """
    Pieces of one stream.
    """

    def setUp(self) -> None:
        """
        None yet; there is room for a record for each line.
        """
        self.found: list[tuple[bytes, int]] = []
        self.room = 1000
        self.pieces = Pieces(lambda data, offset: self.found.append((data, offset)), lambda count: count <= self.room)

    def test_lines(self) -> None:
        """
        A line is a piece once it is complete; what is not is held until it is asked for.
        """
        self.pieces.feed(b"one\n\ntw")
        self.assertEqual([(b"one\n", 0), (b"\n", 4)], self.found)
        self.pieces.flush()
        self.pieces.feed(b"o\n")
        self.assertEqual([(b"tw", 5), (b"o\n", 7)], self.found[2:])

    def test_many_lines(self) -> None:
        """
        Where there is no room for a piece for each line, whole lines go together.
        """
        self.room = 1
        self.pieces.feed(b"a\nb\nc")
        self.assertEqual([(b"a\nb\n", 0)], self.found)
        self.pieces.feed(b"\n" + b"0123456\n" * MAX_PIECE)
        self.assertTrue(all(len(data) <= MAX_PIECE and data.endswith(b"\n") for data, _ in self.found))

    def test_characters(self) -> None:
        """
        A character that is not complete waits for the rest, also where a line is cut.
        """
        for text in ("é", "漢", "😀"):
            self.found.clear()
            data = text.encode()
            self.pieces.feed(b"a" + data[:-1])
            self.pieces.flush()
            self.assertEqual(b"a", self.found[0][0])
            self.pieces.feed(data[-1:])
            self.pieces.flush()
            self.assertEqual(data, self.found[1][0])
        self.found.clear()
        self.pieces.feed("漢".encode() * MAX_PIECE)
        self.assertTrue(all(data.decode() for data, _ in self.found))

    def test_unfinished(self) -> None:
        """
        Only what may still become a character counts.
        """
        for data, count in (
            (b"", 0),
            (b"a", 0),
            (b"\xc3", 1),
            (b"\xc3\xa9", 0),
            (b"\xf0\x9f\x98", 3),
            (b"\x80\x80", 0),
        ):
            self.assertEqual(count, unfinished(data), data)

    @settings(deadline=None)
    @given(DATA, st.integers(0, 3), st.sets(st.integers(0, 20)))
    def test_any(self, data: list[bytes], room: int, flushes: set[int]) -> None:
        """
        However it is printed, all of it comes, in order, at its place; and text stays text.
        """
        self.setUp()
        self.room = room
        for place, each in enumerate(data):
            self.pieces.feed(each)
            if place in flushes:
                self.pieces.flush()
        self.pieces.close()
        whole = b"".join(data)
        self.assertEqual(whole, b"".join(piece for piece, _ in self.found))
        place = 0
        for piece, offset in self.found:
            self.assertEqual(place, offset)
            place += len(piece)
        try:
            whole.decode()
        except UnicodeDecodeError:
            return
        for piece, _ in self.found:
            piece.decode()

    @settings(deadline=None)
    @given(st.binary(max_size=20) | st.text(max_size=10).map(str.encode))
    def test_message(self, data: bytes) -> None:
        """
        A record of live output is text if it is UTF-8, and has its exact bytes in any case.
        """
        message = plain_message(1, data, 0, 0, 0)
        self.assertEqual(data, output_bytes(Record(0, "1:1", "a", message)))
        body = data.removesuffix(b"\n")
        self.assertEqual(body.decode("utf-8", "replace"), message.message)
        if isinstance(message.base64, str):
            self.assertEqual(body, b64decode(message.base64))

    def test_binary(self) -> None:
        """
        Much that is no text at all is not carried twice.
        """
        self.assertEqual("", plain_message(1, b"\xff" * 5000, 0, 0, 0).message)
        self.assertEqual("\ufffd" + "x" * 5000, plain_message(1, b"\xff" + b"x" * 5000, 0, 0, 0).message)


class PrintingTests(SynchronousTestCase):
    """
    What a program prints while it goes on.
    """

    def setUp(self) -> None:
        """
        A job that somebody follows.
        """
        self.clock = Clock()
        self.records = MemoryRecords()
        self.printing = self.begun()

    def begun(self, **fields: Any) -> Printing:
        """
        A program that is being read.
        """
        job = make_job("a", stream=True, **fields)
        self.output = Output(job, self.records, 1000, lambda: 5.5, ResultBuffers(1000, 1000))
        printing = Printing(self.clock, self.output, None)
        self.transport = Transport()
        printing.makeConnection(self.transport)
        return printing

    def live(self) -> list[tuple[int, str]]:
        """
        What there is of it.
        """
        return [(message.level, message.message) for _, message, _ in self.records.streams]

    def test_part(self) -> None:
        """
        A part of a line is live after a moment; what comes in that moment comes with it.
        """
        self.printing.childDataReceived(1, b"10%\r")
        self.clock.advance(PART / 2)
        self.printing.childDataReceived(1, b"11%\r")
        self.assertEqual([], self.live())
        self.clock.advance(PART / 2)
        self.assertEqual([(1, "10%\r11%\r")], self.live())
        self.printing.childDataReceived(1, b"done\n")
        self.assertEqual([(1, "10%\r11%\r"), (1, "done")], self.live())
        self.assertEqual([0, 8], [message.offset for _, message, _ in self.records.streams])

    def test_prefix(self) -> None:
        """
        A part of a line that may still become a message waits until that is decided; a message comes when it is whole.
        """
        for piece in (b"7", b":", b":"):
            self.printing.childDataReceived(1, piece)
            self.clock.advance(PART)
        self.printing.childDataReceived(1, b"careful")
        self.clock.advance(PART)
        self.assertEqual([], self.live())
        self.printing.childDataReceived(1, b"\n7:x")
        self.clock.advance(PART)
        self.assertEqual([(7, "careful"), (1, "7:x")], self.live())

    def test_no_messages(self) -> None:
        """
        Without messages nothing waits for that.
        """
        printing = self.begun(messages=False)
        printing.childDataReceived(1, b"7::")
        self.clock.advance(PART)
        self.assertEqual([(1, "7::")], self.live())

    def test_order(self) -> None:
        """
        What was printed first is live first, on whichever stream; log records are of whole lines.
        """
        printing = self.begun(log_levels=[1, 2, 3])
        printing.childDataReceived(1, b"name: ")
        printing.childDataReceived(2, b"error\n")
        printing.childDataReceived(1, b"x")
        printing.childDataReceived(2, b"3::note\n")
        printing.childDataReceived(1, b"\n")
        self.assertEqual([(1, "name: "), (2, "error"), (1, "x"), (3, "note"), (1, "")], self.live())
        self.assertEqual([(2, "error"), (3, "note"), (1, "name: x")], [log[1:] for log in self.records.logs])

    def test_flood(self) -> None:
        """
        Of many lines not each is a record, and all of them are there.
        """
        lines = b"".join(b"%d\n" % number for number in range(3 * MAX_LINES))
        self.printing.childDataReceived(1, lines[:2000])
        for first in range(2000, len(lines), 2000):
            self.printing.childDataReceived(1, lines[first : first + 2000])
        self.output.close()
        self.assertLess(len(self.live()), 2 * MAX_LINES)
        self.assertEqual(lines.decode(), "".join(text + "\n" for _, text in self.live()))

    def test_clogged(self) -> None:
        """
        A program whose live output is not read waits until it is.
        """
        self.records.full = True
        self.printing.childDataReceived(1, b"x\n")
        self.assertEqual(["pause"], self.transport.calls)
        self.clock.pump([0.02] * 10)
        self.assertEqual(["pause"], self.transport.calls)
        self.records.full = False
        self.clock.advance(0.02)
        self.assertEqual(["pause", "resume"], self.transport.calls)


class Transport:
    """
    Of a program that runs.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        """
        Kept.
        """
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        """
        Kept.
        """
        self.calls.append("resume")
