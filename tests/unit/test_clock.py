"""
Timers and the wall clock.
"""

import time

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from core0.clock import epoch, go_by_monotonic


class ClockTests(SynchronousTestCase):
    """
    Two kinds of time.
    """

    def test_reactor(self) -> None:
        """
        A reactor that goes by the monotonic clock still tells the time of day.
        """
        reactor = MemoryReactorClock()
        go_by_monotonic(reactor)
        self.assertLess(abs(reactor.seconds() - time.monotonic()), 60)
        self.assertLess(abs(epoch(reactor) - time.time()), 60)

    def test_clock(self) -> None:
        """
        The clock of a test is the time of day as well.
        """
        clock = Clock()
        clock.advance(7)
        self.assertEqual(7.0, epoch(clock))
