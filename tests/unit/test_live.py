"""
What corectl shows of a job's output, in pieces and at the end.
"""

from io import BytesIO

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.client.client import Batch, output_bytes
from core0.client.live import HOLD, KEEP, LONG_LINE, Live, Screen
from core0.messages import Message, Record, Result, State, plain_message

RUN = 1000  # when the run began, in ms since the epoch
LAST = Record(0, "1:1", "job", Message(1, "", 0, 1 << 16 | 2, RUN))
NOTHING = Result(
    id="job",
    command="core.system",
    data="",
    level=0,
    streams=("", ""),
    critical="",
    state=State.SUCCESS,
    code=0,
    starttime=RUN,
    time=0,
    tags=[],
    container=0,
    runs=1,
    truncated=(0, 0),
)


def record(text: str, level: int = 1) -> Record:
    """
    One line, or message, of a job whose Core does not say where it stands.
    """
    return Record(0, "1:1", "job", Message(level, text, 0, level << 16))


def piece(data: bytes, offset: int, level: int = 1, run: int = RUN) -> Record:
    """
    A piece of plain output.
    """
    return Record(0, "1:1", "job", plain_message(level, data, 0, run, offset))


def pieces(*data: bytes, offset: int = 0, level: int = 1, run: int = RUN) -> tuple[Record, ...]:
    """
    Several, one after another.
    """
    found = []
    for each in data:
        found.append(piece(each, offset, level, run))
        offset += len(each)
    return tuple(found)


def end(out: int, err: int = 0, run: int = RUN) -> Record:
    """
    The last record: so many bytes there were of stdout and stderr.
    """
    return Record(0, "1:1", "job", Message(1, "", 0, 1 << 16 | 2, run, ends=(out, err)))


def batch(*records: Record) -> Batch:
    """
    Some of them.
    """
    return Batch(records, last=bool(records) and records[-1].message.message == "" and not records[-1].message.base64)


def result(out: str = "", err: str = "", truncated: int = 0, runs: int = 1) -> Result:
    """
    The result of a job.
    """
    return replace(NOTHING, streams=(out, err), truncated=(truncated, 0), runs=runs)


class LiveCase(SynchronousTestCase):
    """
    Two files to look at.
    """

    def setUp(self) -> None:
        """
        Nothing is shown yet.
        """
        self.clock = Clock()
        self.out, self.err = BytesIO(), BytesIO()
        self.live = Live(self.clock, Screen(self.out, self.err))

    def assert_shown(self, out: bytes, err: bytes = b"") -> None:
        """
        This, and nothing else, has been written.
        """
        self.assertEqual((out, err), (self.out.getvalue(), self.err.getvalue()))


class LiveTests(LiveCase):
    """
    Live output that says where its pieces stand.
    """

    def test_at_once(self) -> None:
        """
        Lines, and parts of lines, are shown when they come, byte by byte as they were.
        """
        self.live.show(batch(*pieces(b"one\n", b"Password: ", b"\xff\xfe\r")))
        self.assert_shown(b"one\nPassword: \xff\xfe\r")
        self.live.show(batch(piece(b"x\n", 17), end(19)))
        self.assertTrue(self.live.finish(result("one\nPassword: \ufffd\ufffd\rx\n")))
        self.assert_shown(b"one\nPassword: \xff\xfe\rx\n")

    def test_both_streams(self) -> None:
        """
        Stdout and stderr are counted apart.
        """
        self.live.show(batch(piece(b"out", 0), piece(b"err\n", 0, 2), piece(b"2\n", 4, 2), end(3, 6)))
        self.assertTrue(self.live.finish(result("out", "err\n2\n")))
        self.assert_shown(b"out", b"err\n2\n")

    def test_messages(self) -> None:
        """
        Messages for people are shown on stderr without their level, others are not.
        """
        self.live.show(batch(*(record(f"level {level}", level) for level in (3, 4, 5, 6, 7, 8, 9, 10, 11, 20, 30))))
        self.assert_shown(b"", b"".join(b"level %d\n" % level for level in (3, 4, 7, 8, 9)))

    def test_again(self) -> None:
        """
        What comes a second time is shown once, be it the same pieces or others.
        """
        self.live.show(batch(*pieces(b"one\n", b"two\n")))
        self.live.show(batch(*pieces(b"one\n", b"two\nth", b"ree\n"), end(14)))
        self.assertTrue(self.live.finish(result("one\ntwo\nthree\n")))
        self.assert_shown(b"one\ntwo\nthree\n")

    def test_nothing_came(self) -> None:
        """
        If live output fails, the result has it.
        """
        self.assertTrue(self.live.finish(result("all\nof it", "and\n")))
        self.assert_shown(b"all\nof it", b"and\n")

    def test_end_did_not_come(self) -> None:
        """
        What is missing at the end of live output is added from the result.
        """
        self.live.show(batch(piece(b"one\n", 0)))
        self.assertTrue(self.live.finish(result("one\ntwo\nthree")))
        self.assert_shown(b"one\ntwo\nthree")

    def test_gap_in_short_output(self) -> None:
        """
        Where pieces are missing, output waits for the result and is exact.
        """
        self.live.show(batch(piece(b"1\n", 0)))
        self.live.show(batch(piece(b"4\n", 6), record("look", 3), end(8)))
        self.assert_shown(b"1\n")
        self.assertTrue(self.live.finish(result("1\n2\n3\n4\n")))
        self.assert_shown(b"1\n2\n3\n4\n", b"look\n")

    def test_gap_in_long_job(self) -> None:
        """
        If the result does not come soon, what there is gets shown, and it is known how much is missing.
        """
        self.live.show(batch(piece(b"4\n", 6)))
        self.clock.advance(HOLD)
        self.live.show(batch())
        self.assert_shown(b"4\n")
        self.live.show(batch(piece(b"5\n", 8), end(10)))
        self.assertFalse(self.live.finish(result("3\n4\n5\n", truncated=4)))
        self.assert_shown(b"4\n5\n")
        self.assertEqual(6, self.live.missing)

    def test_gap_in_much_output(self) -> None:
        """
        Output that is more than a result keeps does not wait.
        """
        self.live.show(batch(piece(b"x" * KEEP + b"\n", 5), piece(b"y\n", KEEP + 6)))
        self.assertIn(b"y\n", self.out.getvalue())

    def test_gap_in_bytes(self) -> None:
        """
        A result cannot make up for bytes that are no text: the rest is shown, and it is said what is missing.
        """
        self.live.show(batch(piece(b"\xff\n", 0), piece(b"\xfe\n", 4), end(6)))
        self.assertFalse(self.live.finish(result("\ufffd\n\ufffd\n\ufffd\n")))
        self.assert_shown(b"\xff\n\xfe\n")
        self.assertEqual(2, self.live.missing)

    def test_more_than_kept(self) -> None:
        """
        Of output that is longer than what the result keeps nothing is shown twice.
        """
        self.live.show(batch(*pieces(b"one\n", b"two\n", b"three\n")))
        self.assertTrue(self.live.finish(result("ee\nfour\n", truncated=11)))
        self.assert_shown(b"one\ntwo\nthree\nfour\n")

    def test_hole_before_kept(self) -> None:
        """
        If some is missing between what was shown and what is kept, it is known how much.
        """
        self.live.show(batch(piece(b"one\n", 0)))
        self.assertFalse(self.live.finish(result("four\n", truncated=14)))
        self.assert_shown(b"one\nfour\n")
        self.assertEqual(10, self.live.missing)

    def test_several_runs(self) -> None:
        """
        Of a job that was run again the output of all runs is shown, once.
        """
        first, second = piece(b"first\n", 0, run=RUN - 5), piece(b"sec", 0)
        self.live.show(batch(first, second))
        self.live.show(batch(first, second, piece(b"ond", 3), end(6)))
        self.assertTrue(self.live.finish(result("second", runs=2)))
        self.assert_shown(b"first\nsecond")

    def test_last_run_did_not_come(self) -> None:
        """
        The output of a last run of which nothing came is taken from the result.
        """
        self.live.show(batch(piece(b"first\n", 0, run=RUN - 5)))
        self.assertTrue(self.live.finish(result("second", runs=2)))
        self.assert_shown(b"first\nsecond")

    def test_no_streams(self) -> None:
        """
        A result that knows nothing of the output, since core0 died meanwhile, takes nothing away from it.
        """
        self.live.show(batch(piece(b"one\n", 0)))
        self.assertTrue(self.live.finish(result()))
        self.assert_shown(b"one\n")

    def test_garbled(self) -> None:
        """
        Bytes that a Core has written wrongly are shown as its text says.
        """
        message = Message(1, "a", 0, 1 << 16, RUN, 0, base64="?")
        self.assertEqual(b"a\n", output_bytes(Record(0, "1:1", "job", message)))

    @settings(deadline=None)
    @given(
        st.lists(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\n", b"a\n", "é".encode()]), max_size=12),
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=4),
        st.sets(st.integers(0, 11)),
    )
    def test_any(self, data: list[bytes], repeats: list[tuple[int, int]], lost: set[int]) -> None:
        """
        Whatever is printed, lost or repeated: what is shown is in order, and if it is not all of it, that is said.
        """
        self.setUp()
        records = pieces(*data)
        whole = b"".join(data)
        came = [each for place, each in enumerate(records) if place not in lost]
        self.live.show(batch(*came))
        for first, last in repeats:
            self.live.show(batch(*came[first:last]))
        self.live.show(batch(end(len(whole))))
        complete = self.live.finish(result(whole.decode("utf-8", "replace")))
        shown = self.out.getvalue()
        if complete:
            self.assertEqual(whole, shown)
        else:
            self.assertTrue(lost)
            if came:  # else it is shown as text, which may be longer
                self.assertEqual(len(whole) - len(shown), self.live.missing)


class OlderLiveTests(LiveCase):
    """
    Live output of a Core that does not say where its lines stand.
    """

    def test_lines(self) -> None:
        """
        Each is a line, and the result tells whether the last one ends with a newline.
        """
        for text in ("a\nb", "a\nb\n", "a\n\n"):
            self.setUp()
            first, second = text.split("\n")[:2]
            self.live.show(batch(record(first), record(second)))
            self.live.show(Batch((LAST,), last=True))
            self.assertTrue(self.live.finish(result(text)))
            self.assert_shown(text.encode())

    def test_long_line(self) -> None:
        """
        A line that comes in pieces is shown as one.
        """
        line = "x" * (LONG_LINE + 3)
        self.live.show(batch(record(line), record("yz"), record("end"), LAST))
        self.assertTrue(self.live.finish(result(f"{line}yz\nend\n")))
        self.assert_shown(f"{line}yz\nend\n".encode())

    def test_several_runs(self) -> None:
        """
        The output of all runs is shown.
        """
        self.live.show(batch(record("first"), record("second"), LAST))
        self.assertTrue(self.live.finish(result("second\n", runs=2)))
        self.assert_shown(b"first\nsecond\n")

    def test_gap(self) -> None:
        """
        Where lines may be missing, that is said.
        """
        self.live.show(Batch((record("1"), record("4")), gap=True))
        self.assertFalse(self.live.finish(result("1\n2\n3\n4\n")))
        self.assert_shown(b"1\n4\n")


class ScreenTests(SynchronousTestCase):
    """
    Two files that may be one terminal.
    """

    def test_order(self) -> None:
        """
        What was written first appears first, on whichever of both.
        """
        appeared: list[str] = []

        class File(BytesIO):
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name
                self.waiting = ""

            def write(self, data: bytes) -> int:  # type: ignore[override] # no other buffers here
                self.waiting += data.decode()
                return len(data)

            def flush(self) -> None:
                if self.waiting:
                    appeared.append(self.name + self.waiting)
                self.waiting = ""

        screen = Screen(File("out "), File("err "))
        screen.write(1, b"a")
        screen.write(1, b"b")
        screen.say("c")
        screen.write(1, b"d")
        screen.flush()
        self.assertEqual(["out ab", "err c\n", "out d"], appeared)
