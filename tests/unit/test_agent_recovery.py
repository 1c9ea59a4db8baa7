"""
What a core0 that died has left gets its answer, too.
"""

from typing import Any

from core0.messages import Mark, State
from core0.values import Entry
from tests.unit.agents import AgentCase
from tests.unit.jobs import NOW
from tests.work import FAILED, payload


class RecoverTests(AgentCase):
    """
    What a core0 that died has left.
    """

    def recover(self, mark: Mark | None, command: str = "test.work", **fields: Any) -> None:
        """
        Start with an entry, and perhaps a note on it.
        """
        self.agent.recover({} if mark is None else {self.seq + 1: mark})
        self.admit(payload(command, id="a", **fields))

    def test_not_started(self) -> None:
        """
        What had not been started runs.
        """
        self.recover(None)
        self.assertEqual(["a"], self.work.begun)

    def test_interrupted(self) -> None:
        """
        What had been started and may not run again is INTERRUPTED, with when it started and how often it had run.
        """
        self.recover(Mark(runs=1, started=123_000, pid=7))
        result = self.result("a")
        self.assertEqual(
            (State.INTERRUPTED, 137, 1, 123_000), (result.state, result.code, result.runs, result.starttime)
        )
        self.assertEqual([], self.work.begun)
        self.assert_answered()

    def test_interrupted_live_output(self) -> None:
        """
        Whoever follows its output learns that there will be no more.
        """
        self.recover(Mark(runs=1), stream=True)
        (job, message, last), *rest = self.records.streams
        self.assertEqual(("a", 1 << 16 | 4, True, []), (job, message.meta, last, rest))

    def test_restarts_left(self) -> None:
        """
        What may be tried again is, and the interrupted run counts.
        """
        self.recover(Mark(runs=1), max_restart=1)
        self.assertEqual(["a"], self.work.begun)
        self.work.end("a", FAILED)
        self.assertEqual(2, self.result("a").runs)

    def test_restarts_used_up(self) -> None:
        """
        What was in its last run is INTERRUPTED.
        """
        self.recover(Mark(runs=2), max_restart=1)
        self.assertEqual((State.INTERRUPTED, 2), (self.result("a").state, self.result("a").runs))

    def test_killed(self) -> None:
        """
        What a client had killed is KILLED, and runs no more, recurring or not.
        """
        self.recover(Mark(runs=1, started=123_000, killed=True), recurring_period=10, max_restart=5)
        result = self.result("a")
        self.assertEqual((State.KILLED, 137, 1, 123_000), (result.state, result.code, result.runs, result.starttime))
        self.assertEqual([], self.work.begun)
        self.assert_answered()

    def test_repeatable(self) -> None:
        """
        What changes nothing simply runs again.
        """
        self.recover(Mark(runs=1), "test.again")
        self.assertEqual(["a"], self.again.begun)

    def test_due(self) -> None:
        """
        What was between two runs goes on when it is due, a command that may be repeated, too.
        """
        for command, work in (("test.work", self.work), ("test.again", self.again)):
            self.recover(Mark(due=int((self.reactor.seconds() + 5) * 1000)), command, recurring_period=10)
            self.assertEqual("sleeping", self.jobs.find("a").state)
            self.reactor.advance(5)
            self.assertEqual(["a"], work.begun)
            self.successResultOf(self.jobs.killall(""))
            self.ledger.claims.clear()

    def test_retry_due(self) -> None:
        """
        What waited to be tried again waits on, and keeps those behind it in its queue waiting.
        """
        self.recover(Mark(runs=1, due=int((NOW + 5) * 1000)), max_restart=1, queue="q")
        self.admit(payload("test.work", id="b", queue="q"))
        self.assertEqual(["retrying", "waiting"], [job.state for job in self.jobs.listed()])
        self.reactor.advance(5)
        self.assertEqual(["a"], self.work.begun)

    def test_overdue(self) -> None:
        """
        What should have run in between runs at once.
        """
        self.recover(Mark(runs=1, due=int((NOW - 500) * 1000)), max_restart=1)
        self.assertEqual(["a"], self.work.begun)
        self.work.end("a", FAILED)
        self.assertEqual(2, self.result("a").runs)

    def test_recurring(self) -> None:
        """
        A recurring job that was interrupted goes on, as often as that happens.
        """
        self.recover(Mark(runs=1), recurring_period=10)
        self.assertEqual(["a"], self.work.begun)
        self.work.end("a")
        self.assertEqual((State.SUCCESS, 1), (self.result("a").state, self.result("a").runs))

    def test_recurring_with_restarts(self) -> None:
        """
        The interrupted run of a period counts as one of its tries.
        """
        self.recover(Mark(runs=1), recurring_period=10, max_restart=1)
        self.work.end("a", FAILED)
        self.assertEqual((State.ERROR, 2), (self.result("a").state, self.result("a").runs))

    def test_noted_only_once(self) -> None:
        """
        A note from before is of one entry, once: after it was read again from the server it has been dealt with.
        """
        self.recover(Mark(runs=1), max_restart=5)
        self.successResultOf(self.jobs.killall(""))
        self.ledger.claims.clear()
        self.ledger.unfinished[self.seq] = content = payload("test.work", id="b")
        self.successResultOf(self.agent.admit([Entry(self.seq, content)]))
        self.reactor.advance(0)
        self.assertEqual(["a", "b"], self.work.begun)

    def test_in_its_queue(self) -> None:
        """
        An interrupted job that may run again is the first of its queue, as before.
        """
        self.recover(Mark(runs=1), max_restart=1, queue="q")
        self.admit(payload("test.work", id="b", queue="q"))
        self.assertEqual(["a"], self.work.begun)
