"""
Looking after a connection.
"""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.redis.link import LOOK, Link
from core0.redis.url import RedisURL
from tests.faults import Fault


class _Connection:
    """
    One that answers.
    """

    alive = waiting = True

    def __init__(self) -> None:
        self.closed = False
        self.gone: Deferred[None] = Deferred()

    def silent(self) -> float:
        """
        For no time.
        """
        return 0.0

    def lost(self) -> "Deferred[None]":
        """
        When it is closed.
        """
        return self.gone

    def close(self) -> None:
        """
        As asked.
        """
        self.closed = True
        self.gone.callback(None)


class WatchTests(SynchronousTestCase):
    """
    A connection that is looked after once in a while.
    """

    def test_never_unwatched(self) -> None:
        """
        Where a look fails by a mistake the connection is made anew: nobody would notice that it is silent.
        """
        clock, connection = Clock(), _Connection()
        link = Link(clock, RedisURL(path="/nowhere"), "testing")
        fault = Fault(self, _Connection, "silent", ValueError("a mistake"), first=3)
        link._watch(connection)  # type: ignore[arg-type] # all that it needs
        clock.pump([LOOK] * 2)
        self.assertFalse(connection.closed)
        clock.advance(LOOK)
        self.assertEqual((True, 1), (connection.closed, fault.failed))
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
        self.assertEqual([], clock.getDelayedCalls())
