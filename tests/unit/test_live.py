"""
What corectl shows of a job's output, in pieces and at the end.
"""

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.client.client import Batch
from core0.client.live import HOLD, KEEP, LONG_LINE, Live, Screen
from core0.messages import Message, Record, Result, State

LAST = Record(0, "1:1", "job", Message(1, "", 0, 1 << 16 | 2))
NOTHING = Result(
    id="job",
    command="core.system",
    data="",
    level=0,
    streams=("", ""),
    critical="",
    state=State.SUCCESS,
    code=0,
    starttime=0,
    time=0,
    tags=[],
    container=0,
    runs=1,
    truncated=(0, 0),
)


def record(text: str, level: int = 1) -> Record:
    """
    One line, or message, of a job.
    """
    return Record(0, "1:1", "job", Message(level, text, 0, level << 16))


def batch(*texts: str, more: bool = False, gap: bool = False) -> Batch:
    """
    Some lines on stdout.
    """
    return Batch(tuple(map(record, texts)), more, gap)


def end(*records: Record) -> Batch:
    """
    The end of live output, with what comes just before it.
    """
    return Batch((*records, LAST), last=True)


def result(out: str = "", err: str = "", truncated: int = 0, runs: int = 1) -> Result:
    """
    The result of a job.
    """
    return replace(NOTHING, streams=(out, err), truncated=(truncated, 0), runs=runs)


class LiveTests(SynchronousTestCase):
    """
    Live output.
    """

    def setUp(self) -> None:
        """
        Two files to look at.
        """
        self.clock = Clock()
        self.out, self.err = BytesIO(), BytesIO()
        self.live = Live(self.clock, Screen(self.out, self.err))

    def assert_shown(self, out: str, err: str = "") -> None:
        """
        This, and nothing else, has been written.
        """
        self.assertEqual((out, err), (self.out.getvalue().decode(), self.err.getvalue().decode()))

    def test_at_once(self) -> None:
        """
        A line is shown when it comes, with its newline.
        """
        self.live.show(batch("one", "two"))
        self.assert_shown("one\ntwo\n")

    def test_end_without_newline(self) -> None:
        """
        A last line without a newline is shown without one.
        """
        self.live.show(end(record("a"), record("b")))
        self.assertTrue(self.live.finish(result("a\nb")))
        self.assert_shown("a\nb")

    def test_end_with_newline(self) -> None:
        """
        A last line with a newline is shown with it, once.
        """
        self.live.show(end(record("a"), record("b")))
        self.assertTrue(self.live.finish(result("a\nb\n")))
        self.assert_shown("a\nb\n")

    def test_both_streams(self) -> None:
        """
        Of stdout and stderr each ends as it did on the other side.
        """
        self.live.show(end(record("out"), record("err", 2)))
        self.assertTrue(self.live.finish(result("out", "err\n")))
        self.assert_shown("out", "err\n")

    def test_end_in_next_batch(self) -> None:
        """
        The last lines are shown as they are if the end comes right after them, in another batch.
        """
        self.live.show(Batch((record("a"), record("x"), record("y", 2)), more=True))
        self.assert_shown("a\n")
        self.live.show(end())
        self.assertTrue(self.live.finish(result("a\nx", "y")))
        self.assert_shown("a\nx", "y")

    def test_messages(self) -> None:
        """
        Messages for people are shown on stderr without their level, others are not.
        """
        self.live.show(Batch(tuple(record(f"level {level}", level) for level in (3, 4, 5, 6, 7, 8, 9, 10, 11, 20, 30))))
        self.assert_shown("", "".join(f"level {level}\n" for level in (3, 4, 7, 8, 9)))

    def test_nothing_came(self) -> None:
        """
        If live output fails, the result has it.
        """
        self.assertTrue(self.live.finish(result("all\nof it", "and\n")))
        self.assert_shown("all\nof it", "and\n")

    def test_end_did_not_come(self) -> None:
        """
        What is missing at the end of live output is added from the result.
        """
        self.live.show(batch("one"))
        self.assertTrue(self.live.finish(result("one\ntwo\nthree")))
        self.assert_shown("one\ntwo\nthree")

    def test_gap_in_short_output(self) -> None:
        """
        Where lines were dropped, output waits for the result and is exact.
        """
        self.live.show(batch("1"))
        self.live.show(batch("4", gap=True))
        self.assert_shown("1\n")
        self.live.show(end(record("5")))
        self.assertTrue(self.live.finish(result("1\n2\n3\n4\n5\n")))
        self.assert_shown("1\n2\n3\n4\n5\n")

    def test_messages_in_gap(self) -> None:
        """
        Messages that came while output waited are shown.
        """
        self.live.show(Batch((record("1"), record("look", 3)), gap=True))
        self.live.show(end())
        self.live.finish(result("1\n"))
        self.assert_shown("1\n", "look\n")

    def test_gap_in_long_job(self) -> None:
        """
        If the result does not come soon, what there is gets shown, and in the end it is said that something is missing.
        """
        self.live.show(batch("4", gap=True))
        self.clock.advance(HOLD)
        self.live.show(batch())
        self.assert_shown("4\n")
        self.live.show(batch("5"))
        self.assert_shown("4\n5\n")
        self.live.show(end())
        self.assertFalse(self.live.finish(result("3\n4\n5\n")))
        self.assert_shown("4\n5\n")

    def test_gap_in_much_output(self) -> None:
        """
        Output that is more than a result keeps does not wait.
        """
        self.live.show(batch("x" * KEEP, "y", gap=True))
        self.assertIn(b"y\n", self.out.getvalue())

    def test_end_lost_in_flood(self) -> None:
        """
        However much was dropped, the end of the output is shown.
        """
        self.live.show(batch("1", gap=True))
        self.clock.advance(HOLD)
        self.live.show(batch())
        self.assertFalse(self.live.finish(result("7\n8\n9\n", truncated=12)))
        self.assert_shown("1\n7\n8\n9\n")

    def test_more_than_kept(self) -> None:
        """
        Of output that is longer than what the result keeps nothing is shown twice.
        """
        self.live.show(batch("one", "two", "three"))
        self.assertTrue(self.live.finish(result("ee\nfour\n", truncated=11)))
        self.assert_shown("one\ntwo\nthree\nfour\n")

    def test_hole_before_kept(self) -> None:
        """
        If some is missing between what was shown and what is kept, it is said so.
        """
        self.live.show(batch("one"))
        self.assertFalse(self.live.finish(result("four\n", truncated=14)))
        self.assert_shown("one\nfour\n")

    def test_long_line(self) -> None:
        """
        A line that comes in pieces is shown as one.
        """
        line = "x" * (LONG_LINE + 3)
        self.live.show(end(record(line), record("yz"), record("end")))
        self.assertTrue(self.live.finish(result(f"{line}yz\nend\n")))
        self.assert_shown(f"{line}yz\nend\n")

    def test_long_line_now(self) -> None:
        """
        The pieces of a long line are shown as one line too if the result is far away.
        """
        line = "x" * (LONG_LINE + 3)
        self.live.show(batch(line))
        self.clock.advance(HOLD)
        self.live.show(batch("yz", "next"))
        self.assert_shown(f"{line}yz\nnext\n")

    def test_several_runs(self) -> None:
        """
        Of a job that was run again the output of all runs is shown, once.
        """
        self.live.show(batch("first"))
        self.live.show(end(record("second")))
        self.assertTrue(self.live.finish(result("second", runs=2)))
        self.assert_shown("first\nsecond")

    def test_several_runs_in_gap(self) -> None:
        """
        The output of earlier runs is shown although the result does not have it.
        """
        self.live.show(batch("first", gap=True))
        self.live.show(end(record("second")))
        self.assertFalse(self.live.finish(result("second\n", runs=2)))
        self.assert_shown("first\nsecond\n")

    def test_no_streams(self) -> None:
        """
        A result that knows nothing of the output, since core0 died meanwhile, takes nothing away from it.
        """
        self.live.show(batch("one"))
        self.assertTrue(self.live.finish(result()))
        self.assert_shown("one\n")

    @given(st.text("ab\n\0é", max_size=30), st.integers(1, 5), st.integers(0, 10), st.booleans())
    def test_exact(self, text: str, step: int, dropped: int, more: bool) -> None:
        """
        Whatever is printed, in whatever batches it comes, and if the end of it never does: what is shown is the same.
        """
        self.setUp()
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        if dropped:
            lines = lines[: -dropped - 1]  # those that remain had a newline
        while len(lines) > step:
            self.live.show(batch(*lines[:step], more=more))
            lines = lines[step:]
        self.live.show(batch(*lines) if dropped else end(*map(record, lines)))
        self.assertTrue(self.live.finish(result(text)))
        self.assert_shown(text)


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
