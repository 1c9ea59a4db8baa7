"""
Jobs that wait for each other in queues, that run again, and that take too long.
"""

from core0.messages import Outcome, State
from tests.unit.jobs import NOW, JobsCase
from tests.work import FAILED, Work


class QueueTests(JobsCase):
    """
    Jobs of one queue.
    """

    def test_one_after_another(self) -> None:
        """
        Jobs of one queue run one after another in their order, and other queues go on meanwhile.
        """
        for id, queue in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("x", None)):
            self.submit(id, queue=queue)
        self.assertEqual(["a1", "b1", "x"], self.work.begun)
        self.end("a1", FAILED)
        self.assertEqual("a2", self.work.begun[-1])
        self.end("a2")
        self.assertEqual("a3", self.work.begun[-1])

    def test_retry_keeps_the_queue(self) -> None:
        """
        While a job waits to be tried again, its queue waits with it.
        """
        self.submit("a", queue="q", max_restart=1)
        self.submit("b", queue="q")
        self.end("a", FAILED)
        self.assertEqual({"a": "retrying", "b": "waiting"}, self.states())
        self.clock.advance(1.2)
        self.assertEqual(["a", "a"], self.work.begun)
        self.end("a", FAILED)
        self.assertEqual(["a", "a", "b"], self.work.begun)

    def test_recurring_leaves_the_queue(self) -> None:
        """
        Between its runs a recurring job gives its queue free, and lines up again.
        """
        self.submit("a", queue="q", recurring_period=10.0)
        self.submit("b", queue="q")
        self.end("a")
        self.assertEqual({"a": "sleeping", "b": "running"}, self.states())
        self.clock.advance(10)
        self.assertEqual({"a": "waiting", "b": "running"}, self.states())
        self.end("b")
        self.assertEqual(["a", "b", "a"], self.work.begun)

    def test_killed_head(self) -> None:
        """
        When the job that has the turn is killed the next one gets it, whatever the first was waiting for.
        """
        self.submit("a", queue="q", max_restart=1)
        self.submit("b", queue="q")
        self.submit("c", queue="q")
        self.kill("b")
        self.end("a", FAILED)
        self.kill("a")
        self.assertEqual(["a", "c"], self.work.begun)
        self.assertEqual((State.KILLED, 0), (self.result("b").state, self.result("b").runs))
        self.assertEqual((State.KILLED, 1), (self.result("a").state, self.result("a").runs))

    def test_urgent_in_a_queue(self) -> None:
        """
        An urgent command that names a queue waits for its turn there.
        """
        urgent = Work(urgent=True)
        self.submit("a", queue="q")
        self.submit("b", urgent, queue="q")
        self.assertEqual([], urgent.begun)
        self.end("a")
        self.assertEqual(["b"], urgent.begun)


class AgainTests(JobsCase):
    """
    Jobs that run more than once.
    """

    def test_restarts(self) -> None:
        """
        A job that fails runs again after growing waits, and has one result, with the number of its runs.
        """
        self.submit("a", max_restart=2)
        for runs, longest in ((1, 1.1), (2, 2.2)):
            self.end("a", FAILED)
            self.assertEqual({"a": "retrying"}, self.states())
            self.assertEqual([], self.results("a"))
            self.assertEqual(runs, self.ledger.marks[1].runs)
            self.clock.advance(longest)
        self.end("a", FAILED)
        result = self.result("a")
        self.assertEqual((State.ERROR, 1, 3), (result.state, result.code, result.runs))

    def test_success_at_last(self) -> None:
        """
        A job that succeeds at its second try is a success.
        """
        self.submit("a", max_restart=2)
        self.end("a", FAILED)
        self.clock.advance(1.2)
        self.end("a")
        self.assertEqual((State.SUCCESS, 2), (self.result("a").state, self.result("a").runs))

    def test_recurring(self) -> None:
        """
        A recurring job publishes each run, the same id again, and sleeps until its period has passed since the end.
        """
        self.submit("a", recurring_period=10.0)
        for count in (1, 2, 3):
            self.clock.advance(4)
            self.end("a", FAILED if count == 2 else None)
            self.assertEqual({"a": "sleeping"}, self.states())
            self.assertEqual(count, len(self.results("a")))
            self.clock.advance(9.9)
            self.assertEqual({"a": "sleeping"}, self.states())
            self.clock.advance(0.1)
            self.assertEqual({"a": "running"}, self.states())
        self.assertEqual([1, 1, 1], [result.runs for result in self.results("a")])
        self.assertEqual(["SUCCESS", "ERROR", "SUCCESS"], [result.state for result in self.results("a")])
        self.assertEqual([True] * 3, [final.keep for final in self.ledger.finals])
        self.kill("a")
        self.assertEqual((State.KILLED, False), (self.results("a")[-1].state, self.ledger.finals[-1].keep))
        self.assertEqual({}, self.ledger.unfinished)

    def test_life_of_a_recurring_result(self) -> None:
        """
        The result of a recurring job outlives its period and the longest next run.
        """
        self.submit("a", recurring_period=500_000.0, max_time=300_000.0)
        self.end("a")
        self.assertGreaterEqual(self.ledger.finals[0].life, 800_000.0)

    def test_recurring_with_restarts(self) -> None:
        """
        Retries belong to one period: only its last run is published, and the next period has all of them again.
        """
        self.submit("a", recurring_period=10.0, max_restart=1)
        for period in (1, 2):
            self.end("a", FAILED)
            self.assertEqual({"a": "retrying"}, self.states())
            self.assertEqual(period - 1, len(self.results("a")))
            self.clock.advance(1.2)
            self.end("a", FAILED)
            self.assertEqual({"a": "sleeping"}, self.states())
            self.assertEqual(2, self.results("a")[-1].runs)
            self.clock.advance(10)

    def test_healthy_minute(self) -> None:
        """
        After a run of a minute the next wait is a short one again.
        """
        self.submit("a", max_restart=9)
        for wait in (1.1, 2.2, 4.4):
            self.end("a", FAILED)
            self.clock.advance(wait)
        self.clock.advance(61)
        self.end("a", FAILED)
        self.clock.advance(1.1)
        self.assertEqual({"a": "running"}, self.states())

    def test_noted(self) -> None:
        """
        When a job runs next is noted, with the runs that it has used up.
        """
        self.submit("a", max_restart=1, recurring_period=10.0)
        self.end("a", FAILED)
        mark = self.ledger.marks[1]
        self.assertEqual(1, mark.runs)
        self.assertTrue(900 <= mark.due - NOW * 1000 <= 1100, mark)
        self.clock.advance(1.2)
        self.assertEqual((2, 0), (self.ledger.marks[1].runs, self.ledger.marks[1].due))
        self.end("a")
        self.assertEqual((0, int((NOW + 11.2) * 1000)), (self.ledger.marks[1].runs, self.ledger.marks[1].due))


class TimeTests(JobsCase):
    """
    ``max_time``.
    """

    def test_timeout(self) -> None:
        """
        A run that takes too long is ended and is a TIMEOUT, with what it printed so far.
        """
        work = Work(ends_late=True)
        self.submit("a", work, max_time=5.0)
        self.clock.advance(5)
        self.assertEqual({"a"}, work.cleaning)
        self.clock.advance(1)
        self.end("a", Outcome(state=State.ERROR, code=143, cut=True, streams=(b"so far", b"")), work)
        result = self.result("a")
        self.assertEqual((State.TIMEOUT, 143), (result.state, result.code))
        self.assertEqual((("so far", ""), 6000), (result.streams, result.time))

    def test_in_time(self) -> None:
        """
        A run that ends in time is not touched, nor is what runs after it.
        """
        self.submit("a", max_time=5.0)
        self.clock.advance(4)
        self.end("a")
        self.assertEqual(State.SUCCESS, self.result("a").state)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_no_limit(self) -> None:
        """
        Zero and less are no limit.
        """
        for id, seconds in (("a", 0.0), ("b", -1.0), ("c", None)):
            self.submit(id, max_time=seconds)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_each_run(self) -> None:
        """
        The time is that of each run, not of the waits between, and a TIMEOUT is tried again.
        """
        self.submit("a", max_time=5.0, max_restart=1)
        self.clock.advance(5)
        self.assertEqual({"a": "retrying"}, self.states())
        self.clock.advance(1.2)
        self.clock.advance(4.9)
        self.assertEqual({"a": "running"}, self.states())
        self.clock.advance(0.1)
        result = self.result("a")
        self.assertEqual((State.TIMEOUT, 2), (result.state, result.runs))

    def test_ended_just_before(self) -> None:
        """
        A run that had ended by itself when its time ran out keeps its own result.
        """
        work = Work(ends_late=True)
        self.submit("a", work, max_time=5.0)
        self.clock.advance(5)
        self.end("a", Outcome(code=0), work)
        self.assertEqual((State.SUCCESS, 0), (self.result("a").state, self.result("a").code))

    def test_not_while_waiting(self) -> None:
        """
        Waiting for a turn does not count.
        """
        self.submit("a", queue="q")
        self.submit("b", queue="q", max_time=5.0)
        self.clock.advance(100)
        self.end("a")
        self.clock.advance(4)
        self.end("b")
        self.assertEqual(State.SUCCESS, self.result("b").state)
