"""
What a program prints: its streams, its messages, its result, and what becomes of each.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.interfaces import IRecords
from core0.jobs.job import Job
from core0.jobs.output import MAX_MESSAGE, MAX_RECORD, Output
from core0.jobs.results import ResultBuffers
from tests.fakes import MemoryRecords
from tests.work import make_job

OUT, ERR = 1, 2
TEXT = st.lists(st.sampled_from([b"\n", b"20::", b"9::", b":::", b"3:::", b"x", b"\xff", b"20", b":", b"ab"])).map(
    b"".join
)


class OutputTests(SynchronousTestCase):
    """
    The output of one run.
    """

    def setUp(self) -> None:
        """
        Records that are kept in memory.
        """
        self.records = MemoryRecords()
        self.buffers = ResultBuffers(20, 50)
        self.watched: list[str] = []

    def print(self, *pieces: bytes | tuple[int, bytes], limit: int = 1000, **fields: Any) -> Output:
        """
        Have these printed, on stdout if nothing else is said.
        """
        return self.output(make_job("a", **fields), *pieces, limit=limit)

    def output(self, job: Job, *pieces: bytes | tuple[int, bytes], limit: int = 1000) -> Output:
        """
        Have these printed by a job.
        """
        output = Output(job, self.records, limit, lambda: 5.5, self.buffers)
        for piece in pieces:
            fd, data = piece if isinstance(piece, tuple) else (OUT, piece)
            output.feed(fd, data)
        output.close()
        return output

    def test_interface(self) -> None:
        """
        The records of this test are what the real ones are.
        """
        self.assertTrue(IRecords.providedBy(self.records))

    def test_nothing(self) -> None:
        """
        A program that prints nothing has two empty streams and no result.
        """
        output = self.print()
        self.assertEqual((b"", b""), output.tails())
        self.assertEqual((0, 0), output.dropped())
        self.assertEqual(("", 0, ""), (output.data, output.level, output.critical))

    def test_streams(self) -> None:
        """
        The two streams are kept apart, byte by byte as they came.
        """
        output = self.print(b"out\n", (ERR, b"err \xff\n"), b"\n more")
        self.assertEqual((b"out\n\n more", b"err \xff\n"), output.tails())

    def test_ends(self) -> None:
        """
        Of long streams the ends are kept, and what is missing is counted.
        """
        output = self.print(b"0123456789" * 10, (ERR, b"x" * 11), limit=10)
        self.assertEqual((b"0123456789", b"x" * 10), output.tails())
        self.assertEqual((90, 1), output.dropped())

    def test_result(self) -> None:
        """
        The last message at a result level is the result, from either stream, and is not part of it.
        """
        output = self.print(b"20::1\nhello\n21::a: 1\n", (ERR, b"22::x = 1\noops\n"), b"23::hrd\n")
        self.assertEqual(("hrd", 23), (output.data, output.level))
        self.assertEqual((b"hello\n", b"oops\n"), output.tails())
        output = self.print(b'30::{"state": "SUCCESS"}\n')
        self.assertEqual(('{"state": "SUCCESS"}', 30), (output.data, output.level))

    def test_block(self) -> None:
        """
        A result may have several lines, and needs no end if the stream ends.
        """
        self.assertEqual("{\n}", self.print(b"20:::{\n}\n:::\nmore\n").data)
        self.assertEqual("{\n}", self.print(b"20:::{\n}").data)

    def test_long_result(self) -> None:
        """
        A result larger than the streams may be is kept whole, beyond its own limit not at all, and it is said why.
        """
        output = self.print(b"20::0123456789abc\nxy\n", limit=10)
        self.assertEqual(
            ("0123456789abc", 20, (0, 0), ""), (output.data, output.level, output.dropped(), output.refused)
        )
        output = self.print(b"20::1\n20:::" + b"x" * 20, b"\n", b"\n:::\nxy\n", limit=10)
        self.assertEqual(("", 0, (21, 0), b"xy\n"), (output.data, output.level, output.dropped(), output.tails()[0]))
        self.assertIn("21 bytes: at most 20 are kept", output.refused)

    def test_last_result(self) -> None:
        """
        A later result that is kept makes up for one that is not.
        """
        output = self.print(b"20::" + b"x" * 21 + b"\n", b"20::y\n", limit=10)
        self.assertEqual(("y", 20, ""), (output.data, output.level, output.refused))

    def test_results_of_many(self) -> None:
        """
        Results of all jobs together have so much memory, and give it back.
        """
        piece = b"20::" + b"x" * 20 + b"\n"
        first = self.print(piece, piece, piece, (ERR, piece), limit=10)
        self.print(piece, piece, piece, limit=10)
        third = self.print(piece, limit=10)
        self.assertIn("no memory", third.refused)
        first.release()
        self.assertEqual("", self.print(piece, limit=10).refused)

    def test_whole_memory(self) -> None:
        """
        One result may have all of that memory, in whatever pieces it comes.
        """
        self.buffers = ResultBuffers(50, 50)
        output = self.print(b"20::", *([b"x"] * 50), limit=10)
        self.assertEqual(("x" * 50, ""), (output.data, output.refused))
        output.release()
        self.assertEqual("", self.print(b"20::", b"x" * 49, limit=10).refused)

    def test_large_result_is_no_record(self) -> None:
        """
        A result too large for a record is counted instead; no record has half of it.
        """
        self.buffers = ResultBuffers(4 * MAX_MESSAGE, 8 * MAX_MESSAGE)
        output = self.print(b"20::" + b"x" * MAX_MESSAGE + b"\n", b"20::" + b"x" * (MAX_MESSAGE + 1), log_levels=[20])
        self.assertEqual((1, 1), (len(self.records.logs), self.records.dropped))
        self.assertEqual(MAX_MESSAGE + 1, len(output.data))

    def test_prefixed(self) -> None:
        """
        Lines with level 1 or 2 go to the stream of that number, whichever pipe they came by, and to its records.
        """
        output = self.print(b"a\n2::to stderr\n1:::b\nc\n:::\n", (ERR, b"1::to stdout\noops\n2::x"), log_levels=[1, 2])
        self.assertEqual((b"a\nb\nc\nto stdout\n", b"to stderr\noops\nx"), output.tails())
        self.assertEqual(
            [(1, "a"), (2, "to stderr"), (1, "b"), (1, "c"), (1, "to stdout"), (2, "oops"), (2, "x")],
            [(level, text) for _, level, text in self.records.logs],
        )

    def test_prefixed_flood(self) -> None:
        """
        They are part of the streams also where there is no room for records.
        """
        self.records.left = 0
        output = self.print(b"1::a\n" * 1000 + b"2::b\n" * 1000)
        self.assertEqual((b"a\n" * 500, b"b\n" * 500), output.tails())

    def test_no_messages(self) -> None:
        """
        Without messages everything is output, as it came.
        """
        data = b"1::a\n20::b\n9:::c\n10::d:1|c\n7::"
        output = self.print(data, (ERR, b"2::x\n3"), messages=False)
        self.assertEqual((data, b"2::x\n3"), output.tails())
        self.assertEqual(("", 0, "", []), (output.data, output.level, output.critical, self.records.samples))

    def test_no_utf8(self) -> None:
        """
        What is no UTF-8 in a message is U+FFFD.
        """
        self.assertEqual("a\ufffdb", self.print(b"20::a\xffb\n").data)

    def test_critical(self) -> None:
        """
        The last critical message is told apart.
        """
        output = self.print(b"9::first\n", (ERR, b"9::second\n"))
        self.assertEqual(("second", "", 0), (output.critical, output.data, output.level))

    def test_default_levels(self) -> None:
        """
        Where the command does not say which, the configured levels are logged.
        """
        self.print(b"out\n3::user\n11::debug\n", (ERR, b"err\n"))
        self.assertEqual([("a", 3, "user"), ("a", 2, "err")], self.records.logs)

    def test_own_levels(self) -> None:
        """
        The command's own choice counts instead; an empty one is none at all.
        """
        self.print(b"out\n3::user\n11::debug\n", (ERR, b"err\n"), log_levels=[1, 11])
        self.assertEqual([("a", 11, "debug"), ("a", 1, "out")], sorted(self.records.logs, key=lambda log: -log[1]))
        self.records.logs.clear()
        self.print(b"out\n3::user\n", (ERR, b"err\n"), log_levels=[])
        self.assertEqual([], self.records.logs)

    def test_lines(self) -> None:
        """
        Plain output is logged line by line, however it came in; the last line needs no newline, empty lines count.
        """
        self.print(b"on", b"e\n", b"\ntwo\nth", b"ree", log_levels=[1])
        self.assertEqual(["one", "", "two", "three"], [text for _, _, text in self.records.logs])

    def test_long_line(self) -> None:
        """
        A long line is logged in pieces, none of them larger than a record may be.
        """
        self.print(b"x" * (2 * MAX_RECORD + 5) + b"\ny\n", log_levels=[1])
        self.assertEqual([MAX_RECORD, MAX_RECORD, 5, 1], [len(text) for _, _, text in self.records.logs])

    def test_live(self) -> None:
        """
        Whoever asked for live output gets each line and message of any level, with the level in its flags.
        """
        self.print(b"out\n11::debug\n", (ERR, b"err\n"), stream=True, log_levels=[])
        found = [
            (job, message.level, message.message, message.meta, last) for job, message, last in self.records.streams
        ]
        expected = [
            ("a", 1, "out", 1 << 16, False),
            ("a", 11, "debug", 11 << 16, False),
            ("a", 2, "err", 2 << 16, False),
        ]
        self.assertEqual(sorted(expected), sorted(found))
        self.assertEqual({5_500_000_000}, {message.epoch for _, message, _ in self.records.streams})
        self.assertEqual([], self.records.logs)

    def test_not_live(self) -> None:
        """
        Nobody else gets it.
        """
        self.print(b"out\n11::debug\n")
        self.assertEqual([], self.records.streams)

    def test_watched(self) -> None:
        """
        Whoever watches a job sees its lines and messages, logged or not.
        """
        job = make_job("a", log_levels=[])
        job.watch = self.watched.append
        self.output(job, b"out\n3::user\n", (ERR, b"err\n"))
        self.assertEqual({"out", "user", "err"}, set(self.watched))

    def test_no_room(self) -> None:
        """
        Lines that there is no room for are counted, and are part of the stream all the same.
        """
        self.records.left = 2
        output = self.print(b"1\n2\n3\n4\n", b"5\n6\n", log_levels=[1])
        self.assertEqual(["1", "2"], [text for _, _, text in self.records.logs])
        self.assertEqual(4, self.records.dropped)
        self.assertEqual(b"1\n2\n3\n4\n5\n6\n", output.tails()[0])

    def test_watched_without_room(self) -> None:
        """
        Whoever watches a job sees all its lines, room or not.
        """
        self.records.left = 0
        job = make_job("a", log_levels=[])
        job.watch = self.watched.append
        self.output(job, b"1\n2\n")
        self.assertEqual(["1", "2"], self.watched)

    def test_statsd(self) -> None:
        """
        A figure that the program reports itself becomes a sample.
        """
        self.print(b"10::requests:12|c\n10::load:+0.5|g|host=a,b=c\n", log_levels=[])
        self.assertEqual(
            [
                {"time": 5500, "key": "requests", "value": "12", "type": "c", "tags": ""},
                {"time": 5500, "key": "load", "value": "+0.5", "type": "g", "tags": "host=a,b=c"},
            ],
            [fields for _, fields, _ in self.records.samples],
        )

    def test_no_statsd(self) -> None:
        """
        What is no figure becomes no sample, and is logged like any other message.
        """
        self.print(b"10::\n10::x\n10::x:1\n10:::1|c\n:::\n10::x:|c\n", log_levels=[10])
        self.assertEqual([], self.records.samples)
        self.assertEqual(5, len(self.records.logs))

    @given(TEXT, TEXT, st.integers(0, 50))
    def test_any_output(self, out: bytes, err: bytes, limit: int) -> None:
        """
        Whatever is printed, in whatever pieces, no more is kept than may be, and the pieces make no difference.
        """
        whole = self.print(out, (ERR, err), limit=limit, stream=True)
        whole.release()
        pieces = [bytes([byte]) for byte in out], [(ERR, bytes([byte])) for byte in err]
        cut = self.print(*pieces[0], *pieces[1], limit=limit, stream=True)
        for output in (whole, cut):
            self.assertTrue(all(len(tail) <= limit for tail in output.tails()))
            self.assertLessEqual(len(output.data.encode()), 3 * max(limit, 20))  # of one that is no UTF-8 come three
            output.release()
        self.assertEqual((whole.tails(), whole.dropped()), (cut.tails(), cut.dropped()))
        self.assertEqual((whole.data, whole.level, whole.critical), (cut.data, cut.level, cut.critical))
