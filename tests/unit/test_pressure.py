"""
How full the server is.
"""

from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.redis import pressure
from core0.redis.connection import Lost
from core0.redis.link import Link
from core0.redis.pressure import INTERVAL, Pressure, memory
from tests.faults import Fault


class FullnessTests(SynchronousTestCase):
    """
    The text of ``INFO memory``.
    """

    def test_part(self) -> None:
        """
        It says what is used, and what may be.
        """
        info = b"# Memory\r\nused_memory:750\r\nused_memory_human:750B\r\nmaxmemory:1000\r\nmaxmemory_human:1000B\r\n"
        self.assertEqual((750, 1000), memory(info))

    def test_no_limit(self) -> None:
        """
        A server without a limit is never full, nor is one that says nothing.
        """
        for info in (b"used_memory:750\r\nmaxmemory:0\r\n", b"used_memory:750\r\n", b"", b"maxmemory:\r\n"):
            self.assertEqual((0, 0), memory(info))


class PressureTests(SynchronousTestCase):
    """
    Looking at it again and again.
    """

    def setUp(self) -> None:
        """
        A server that is as full as the test says.
        """
        self.clock = Clock()
        self.used = 0
        self.here = True
        self.pressure = Pressure(self.clock, cast(Link, self))

    async def up(self) -> "PressureTests":
        """
        As of a link.
        """
        return self

    def command(self, *words: Any) -> "Deferred[Any]":
        """
        As of a connection.
        """
        if not self.here:
            return fail(Lost("gone"))
        return succeed(b"used_memory:%d\r\nmaxmemory:1000\r\n" % self.used)

    def look(self, used: int) -> tuple[bool, bool]:
        """
        Let it be so full for a while: whether results are cut short, and whether nothing is taken.
        """
        self.used = used
        self.clock.advance(INTERVAL)
        return self.pressure.short(), self.pressure.stopped()

    def test_thresholds(self) -> None:
        """
        Above 80 % results are cut short, above 95 % nothing is taken, and that passes.
        """
        self.pressure.start()
        self.addCleanup(self.pressure.stop)
        self.assertEqual((False, False), self.look(800))
        self.assertEqual((True, False), self.look(801))
        self.assertEqual((True, False), self.look(950))
        self.assertEqual((True, True), self.look(951))
        self.assertEqual((False, False), self.look(100))

    def test_written(self) -> None:
        """
        What core0 stores between two looks counts, and what is still to be stored.
        """
        self.pressure.start()
        self.addCleanup(self.pressure.stop)
        self.look(500)
        self.pressure.written(250)
        self.assertEqual((False, True), (self.pressure.short(50), self.pressure.short(51)))
        self.pressure.written(201)
        self.assertEqual((True, True), (self.pressure.short(), self.pressure.stopped()))
        self.assertEqual((False, False), self.look(700))

    def test_no_limit(self) -> None:
        """
        Before the first look, and without a limit, nothing is too much.
        """
        self.pressure.written(10_000)
        self.assertEqual((False, False), (self.pressure.short(10_000), self.pressure.stopped()))

    def test_away(self) -> None:
        """
        While the server is away, what it said last stands, and it is asked again.
        """
        self.pressure.start()
        self.addCleanup(self.pressure.stop)
        self.look(900)
        self.here = False
        self.assertEqual((True, False), self.look(100))
        self.here = True
        self.assertEqual((False, False), self.look(100))

    def test_goes_on(self) -> None:
        """
        Whatever goes wrong with one look, the next one is taken: else it would take what is written for what is used.
        """
        self.pressure.start()
        self.addCleanup(self.pressure.stop)
        self.look(900)
        fault = Fault(self, pressure, "memory", ValueError("no number"), times=3)
        for _ in range(3):
            self.pressure.written(100)
            self.assertEqual((True, True), self.look(100))
        self.assertEqual((3, 3), (fault.failed, len(self.flushLoggedErrors(ValueError))))
        self.assertEqual((False, False), self.look(100))

    def test_stop(self) -> None:
        """
        It stops, also before it has begun.
        """
        self.pressure.stop()
        self.pressure.start()
        self.pressure.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
