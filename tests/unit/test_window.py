"""
How many of the newest records of a list are kept.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.redis import window
from core0.redis.records import RecordWriter
from core0.redis.window import CLOG, CLOG_BYTES, NOBODY, READER, Backlog, Window, Windows


class WindowTests(SynchronousTestCase):
    """
    Windows.
    """

    def test_number(self) -> None:
        """
        As long as they are small, as many are kept as may be.
        """
        window = Window(100, 10_000)
        self.assertEqual([100] * 50, [window.add(10, 100) for _ in range(50)])

    def test_size(self) -> None:
        """
        When the newest are too large together, fewer are kept: those of the newest writes that fit.
        """
        window = Window(100, 1000)
        self.assertEqual([100, 100, 20, 20], [window.add(10, 400) for _ in range(4)])

    def test_one_too_large(self) -> None:
        """
        The newest write is always kept, however large it is.
        """
        window = Window(100, 1000)
        window.add(10, 400)
        self.assertEqual(3, window.add(3, 5000))

    @given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 300)), max_size=40), st.integers(1, 50))
    def test_any_writes(self, writes: list[tuple[int, int]], most: int) -> None:
        """
        What is kept is never more than may be, is within its room unless it is a single write, and never nothing.
        """
        window = Window(most, 500)
        done: list[tuple[int, int]] = []
        for count, size in writes:
            kept = window.add(count, size)
            done.append((count, size))
            self.assertTrue(0 < kept <= most)
            total, number = 0, 0
            for each, bytes_ in reversed(done):
                if number + each > kept:
                    break
                number += each
                total += bytes_
            self.assertTrue(total <= 500 or number == done[-1][0], (done, kept))

    def test_newest(self) -> None:
        """
        How large the newest are is known by the writes that they are of.
        """
        window = Window(100, 10_000)
        for _ in range(3):
            window.add(10, 400)
        self.assertEqual([0, 40, 400, 440, 1200, 1200], [window.newest(count) for count in (0, 1, 10, 11, 30, 99)])


class WindowsTests(SynchronousTestCase):
    """
    Windows of many jobs.
    """

    def setUp(self) -> None:
        """
        Windows of lists that live for 300 seconds.
        """
        self.windows = Windows(lambda: Window(100, 1000), 300.0)

    def test_same(self) -> None:
        """
        A job has one window for as long as its list lives; each write has it live longer.
        """
        first = self.windows.get("a", 0.0)
        self.assertIs(first, self.windows.get("a", 300.0))
        self.windows.get("b", 301.0)
        self.assertIs(first, self.windows.get("a", 600.0))

    def test_removed(self) -> None:
        """
        A list that is complete needs none any more; to remove what is not there is no mistake.
        """
        first = self.windows.get("a", 0.0)
        self.windows.remove("a")
        self.windows.remove("a")
        self.assertEqual(0, len(self.windows))
        self.assertIsNot(first, self.windows.get("a", 0.0))

    def test_dead(self) -> None:
        """
        Those that are not written to for as long as their lists live are let go of.
        """
        for number in range(1000):
            self.windows.get(str(number), number / 1000)
        self.windows.get("alive", 301.5)
        self.assertEqual(1, len(self.windows))

    def test_too_many(self) -> None:
        """
        Of more than can be, those that were written to longest ago go first.
        """
        self.patch(window, "MOST_WINDOWS", 3)
        kept = self.windows.get("a", 0.0)
        for number in range(10):
            self.windows.get(str(number), 1.0)
            self.assertIs(kept, self.windows.get("a", 1.0))
        self.assertEqual(3, len(self.windows))


class _Link:
    """
    A connection that takes everything.
    """

    def start(self) -> None:
        """
        Nothing.
        """

    stop = start
    doubt = start

    def command(self, *words: Any) -> "Deferred[int]":
        """
        As of a connection.
        """
        return succeed(1)

    async def up(self) -> "_Link":
        """
        As of a link.
        """
        return self


class WriterTests(SynchronousTestCase):
    """
    What writes live output.
    """

    def test_unfinished(self) -> None:
        """
        Live output whose last piece never comes, as of containers that were ended, leaves nothing behind.
        """
        clock, link = Clock(), _Link()
        writer = RecordWriter(clock, link, 300, 1000)  # type: ignore[arg-type] # all that it needs
        writer.start()
        self.addCleanup(writer.stop)
        most = 0
        for number in range(8000):
            writer.stream(f"job {number}", b"x", False)
            clock.advance(0.1)
            most = max(most, len(writer._live))
        self.assertTrue(most <= 3001, most)
        self.assertTrue(len(writer._live) <= 3001, len(writer._live))


class BacklogTests(SynchronousTestCase):
    """
    What of a list is not read yet.
    """

    def setUp(self) -> None:
        """
        An empty list.
        """
        self.backlog = Backlog(Window(10_000, 10 << 20), 0.0)

    def write(self, count: int, size: int, now: float, listed: int) -> None:
        """
        Write so many, and see how many are there.
        """
        kept = self.backlog.add(count, size)
        self.backlog.seen(listed, count, kept, now)

    def test_few(self) -> None:
        """
        As long as little waits nobody has to.
        """
        self.write(CLOG, CLOG_BYTES, 0.0, CLOG)
        self.assertFalse(self.backlog.clogged(0.0))
        self.write(1, 0, 1.0, CLOG + 1)
        self.assertTrue(self.backlog.clogged(1.0))

    def test_large(self) -> None:
        """
        Few that are large are much, too; once they are read it is over.
        """
        self.write(10, CLOG_BYTES + 1, 0.0, 10)
        self.assertTrue(self.backlog.clogged(0.0))
        self.backlog.seen(0, 0, 10_000, 1.0)
        self.assertFalse(self.backlog.clogged(1.0))

    def test_no_reader(self) -> None:
        """
        Nobody waits for long for a reader who has never come.
        """
        self.write(10, CLOG_BYTES + 1, 5.0, 10)
        self.assertTrue(self.backlog.clogged(4.9 + NOBODY))
        self.assertFalse(self.backlog.clogged(5.0 + NOBODY))
        self.write(10, CLOG_BYTES, 6.0 + NOBODY, 20)
        self.assertFalse(self.backlog.clogged(6.0 + NOBODY))

    def test_slow_reader(self) -> None:
        """
        One who takes something now and then is waited for; one who takes nothing any more is not, in the end.
        """
        self.write(10, 2 * CLOG_BYTES, 0.0, 10)
        for turn in range(1, 4):
            self.backlog.seen(10 - turn, 0, 10_000, turn * (READER - 1))
            self.assertTrue(self.backlog.clogged((turn + 1) * (READER - 1)))
        self.assertFalse(self.backlog.clogged(4 * READER))
