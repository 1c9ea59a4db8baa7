"""
Work in the background.
"""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from core0.redis import task
from core0.redis.connection import Lost
from core0.redis.task import Task


class TaskTests(SynchronousTestCase):
    """
    What becomes of work that ends.
    """

    def setUp(self) -> None:
        """
        Count the mistakes.
        """
        self.broken = 0
        self.patch(task, "on_broken", self.count)

    def count(self) -> None:
        """
        One more.
        """
        self.broken += 1

    async def end_with(self, reason: Exception) -> None:
        """
        End with this.
        """
        raise reason

    async def wait(self) -> None:
        """
        Go on for ever.
        """
        await Deferred()

    def test_mistake(self) -> None:
        """
        A mistake is told to whoever can end the process.
        """
        Task("it has stopped").start(self.end_with(ValueError("x")))
        self.assertEqual(1, self.broken)

    def test_connection_lost(self) -> None:
        """
        The end of a connection that was closed for good is none.
        """
        Task("it has stopped").start(self.end_with(Lost("stopped")))
        self.assertEqual(0, self.broken)

    def test_stop(self) -> None:
        """
        Neither is being stopped, or never having begun.
        """
        work = Task("it has stopped")
        work.stop()
        work.start(self.wait())
        work.stop()
        self.assertEqual(0, self.broken)
