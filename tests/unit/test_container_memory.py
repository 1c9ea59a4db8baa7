"""
What is told of a container whose memory limit is reached.
"""

from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from core0.clock import epoch
from core0.containers.memory import LOOK, MIB, TELL, MemoryLimit, killed
from core0.messages import Command, Outcome, Result, State, result_of


class MemoryLimitTests(SynchronousTestCase):
    """
    A limit of 64 MiB.
    """

    def setUp(self) -> None:
        """
        Of a container that has just been made.
        """
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.events: list[Any] = []
        self.patch(MemoryLimit, "_log", Logger(observer=self.events.append))  # type: ignore[arg-type] # a list will do
        self.limit = self.made(fresh=True)

    def made(self, *, fresh: bool) -> MemoryLimit:
        """
        A limit.
        """
        return MemoryLimit(self.clock, 7, 64 * MIB, "/none/7", fresh=fresh)

    def result(self, state: State = State.ERROR, *, runs: int = 1, critical: str = "") -> Result:
        """
        Of a job that began a second ago.
        """
        outcome = Outcome(state=state, code=137, critical=critical)
        started = int(epoch(self.clock) * 1000) - 1000
        return result_of(Command(command="x"), "a", outcome, container=7, starttime=started, time=1000, runs=runs)

    def test_files(self) -> None:
        """
        The count is read from the files of both versions of cgroups.
        """
        second = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n"
        first = "oom_kill_disable 0\nunder_oom 1\noom_kill 5\n"
        self.assertEqual((2, 5), (killed(second), killed(first)))
        for text in ("", "oom_kill_disable 0\nunder_oom 0\n", "oom_kill x", "oom_kill"):
            self.assertIsNone(killed(text))

    def test_explained(self) -> None:
        """
        The result of a job that failed while processes were killed says so, beside what it says itself.
        """
        self.limit.seen(0)
        self.assertEqual(self.result(), self.limit.explained(self.result()))
        self.limit.seen(2)
        self.assertIn("the limit of the container, 64 MiB, was reached", self.limit.explained(self.result()).critical)
        own = self.limit.explained(self.result(critical="my own")).critical
        self.assertEqual(["my own", self.limit.text], own.splitlines())

    def test_not_explained(self) -> None:
        """
        Other results are left alone: of jobs that did not fail, never ran, or began later.
        """
        self.limit.seen(1)
        for result in (*map(self.result, (State.SUCCESS, State.KILLED, State.TIMEOUT)), self.result(runs=0)):
            self.assertEqual(result, self.limit.explained(result))
        self.clock.advance(2)
        self.limit.seen(1)
        self.assertEqual(self.result(), self.limit.explained(self.result()))
        long = replace(self.result(), starttime=int(epoch(self.clock) * 1000) - 5000)
        self.assertIn("out of memory", self.limit.explained(long).critical)

    def test_cause(self) -> None:
        """
        The death of a container is explained by what has happened just before.
        """
        self.assertEqual("its CoreX has ended", self.limit.cause("its CoreX has ended"))
        self.limit.seen(1)
        self.assertIn("its CoreX has ended; out of memory", self.limit.cause("its CoreX has ended"))
        self.clock.advance(3 * LOOK)
        self.assertEqual("its CoreX has ended", self.limit.cause("its CoreX has ended"))

    def test_adopted(self) -> None:
        """
        What had happened before core0 was started is counted, not told.
        """
        limit = self.made(fresh=False)
        limit.seen(5)
        self.assertEqual((5, []), (limit.kills, self.events))
        self.assertEqual(self.result(), limit.explained(self.result()))
        limit.seen(6)
        self.assertIn("out of memory", limit.explained(self.result()).critical)

    def test_unknown(self) -> None:
        """
        If the container is gone what was known stays.
        """
        self.limit.seen(3)
        self.limit.seen(None)
        self.assertEqual(3, self.limit.kills)
        self.assertIsNone(self.limit.read())

    def test_logged(self) -> None:
        """
        The log tells it once for many, with their number, and again when more follow.
        """
        for count in range(1, 50):
            self.limit.seen(count)
            self.clock.advance(0.1)
        self.assertEqual(1, len(self.events))
        self.clock.advance(TELL)
        for _ in range(3):
            self.limit.seen(49)
        self.assertEqual(["1 so far", "49 so far"], [formatEvent(event).rpartition(": ")[2] for event in self.events])
        self.assertIn("container 7", formatEvent(self.events[0]))
