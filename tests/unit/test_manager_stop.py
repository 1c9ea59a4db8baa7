"""
Jobs that end because core0 stops, and that go on when it starts again.
"""

from typing import Any

from twisted.internet.defer import Deferred

from core0.jobs.job import Job
from core0.messages import Mark, Outcome, State
from core0.waiting import Occurrence
from tests.unit.jobs import NOW, JobsCase
from tests.work import FAILED, Work


class StopTests(JobsCase):
    """
    core0 stops in order.
    """

    limit = 3

    def test_idle(self) -> None:
        """
        Without jobs there is nothing to wait for.
        """
        self.successResultOf(self.stop())

    def test_interrupted(self) -> None:
        """
        A running job that may not run again is ended, and is INTERRUPTED with its output so far; that is waited for.
        """
        work = Work(ends_late=True)
        self.submit("a", work)
        stopped = self.stop()
        self.assertNoResult(stopped)
        self.end("a", Outcome(state=State.ERROR, code=143, cut=True, streams=(b"so far", b"")), work)
        self.successResultOf(stopped)
        result = self.result("a")
        self.assertEqual((State.INTERRUPTED, 143, ("so far", "")), (result.state, result.code, result.streams))
        self.assertEqual({}, self.ledger.unfinished)

    def test_ended_by_itself(self) -> None:
        """
        A job that had ended before it was told to has its natural result.
        """
        work = Work(ends_late=True)
        self.submit("a", work)
        stopped = self.stop()
        self.end("a", Outcome(code=3, state=State.ERROR), work)
        self.successResultOf(stopped)
        self.assertEqual((State.ERROR, 3), (self.result("a").state, self.result("a").code))

    def assert_goes_on(self, *ids: str) -> None:
        """
        These have no result, and their entries stay among the unfinished.
        """
        self.successResultOf(self.stop())
        for id in ids:
            self.assertEqual([], self.results(id))
        self.assertEqual(len(ids), len(self.ledger.unfinished))
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(0, self.jobs.live)

    def test_may_run_again(self) -> None:
        """
        Running jobs that recur, have restarts left or may be repeated stay unfinished, without a result.
        """
        self.submit("a", recurring_period=10.0)
        self.submit("b", max_restart=1)
        self.submit("c", Work(repeatable=True))
        self.assert_goes_on("a", "b", "c")
        self.assertEqual((1, 0), (self.ledger.marks[2].runs, self.ledger.marks[2].due))

    def test_not_running(self) -> None:
        """
        Jobs that wait stay unfinished, whatever they wait for; none is started.
        """
        self.submit("a", max_restart=1, max_time=100.0)
        self.end("a", FAILED)
        self.submit("b", queue="q", recurring_period=5.0)
        self.submit("c", queue="q")
        self.assert_goes_on("a", "b", "c")
        self.assertEqual(["a", "b"], self.work.begun)
        self.clock.advance(1000)
        self.assertEqual(["a", "b"], self.work.begun)

    def test_starting(self) -> None:
        """
        A job whose start was just being noted has not run, and the next core0 is told so.
        """
        self.ledger.leave()
        self.submit("a")
        stopped = self.stop()
        self.successResultOf(stopped)
        self.come_back()
        self.assertEqual(([], []), (self.work.begun, self.results("a")))
        mark = self.ledger.marks[1]
        self.assertEqual((0, int(NOW * 1000)), (mark.runs, mark.due))

    def test_starting_again(self) -> None:
        """
        A job whose second start was being noted has run once.
        """
        self.submit("a", max_restart=1)
        self.end("a", FAILED)
        self.ledger.leave()
        self.clock.advance(1.2)
        self.successResultOf(self.stop())
        self.come_back()
        self.assertEqual(1, self.ledger.marks[1].runs)
        self.assertTrue(self.ledger.marks[1].due)

    def test_its_last_run(self) -> None:
        """
        A job that was in the last of its runs is INTERRUPTED.
        """
        self.submit("a", max_restart=1)
        self.end("a", FAILED)
        self.clock.advance(1.2)
        self.successResultOf(self.stop())
        self.assertEqual((State.INTERRUPTED, 2), (self.result("a").state, self.result("a").runs))

    def test_killed_meanwhile(self) -> None:
        """
        A job that a client had killed is KILLED, stopping or not.
        """
        work = Work(ends_late=True)
        self.submit("a", work, recurring_period=10.0)
        self.kill("a")
        stopped = self.stop()
        self.successResultOf(stopped)
        self.assertEqual(State.KILLED, self.result("a").state)

    def test_fails_meanwhile(self) -> None:
        """
        A job that failed by itself just then is tried again by the next core0, which finds when.
        """
        work = Work(ends_late=True)
        self.submit("a", work, max_restart=1)
        stopped = self.stop()
        self.end("a", FAILED, work)
        self.successResultOf(stopped)
        self.assertEqual([], self.results("a"))
        self.assertEqual(1, self.ledger.marks[1].runs)
        self.assertGreater(self.ledger.marks[1].due, NOW * 1000)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_hurry(self) -> None:
        """
        Told again to stop, core0 does not wait for jobs to clean up.
        """
        work = Work(ends_late=True)
        self.submit("a", work)
        self.submit("b", work, max_restart=1)
        stopped = self.stop()
        self.assertEqual({"a", "b"}, work.cleaning)
        self.jobs.hurry()
        self.successResultOf(stopped)
        self.assertEqual(State.INTERRUPTED, self.result("a").state)
        self.assertEqual([], self.results("b"))

    def test_services(self) -> None:
        """
        Whoever waits for the end of a service hears of it.
        """
        job = self.make("service", recurring_period=10.0)
        job.seq = 0
        job.done = Occurrence()
        ended = Deferred.fromCoroutine(job.done.wait())
        self.jobs.submit(job)
        self.successResultOf(self.stop())
        self.assertIsNone(self.successResultOf(ended))


class RecoveryTests(JobsCase):
    """
    Jobs that go on where the core0 before this one was interrupted.
    """

    def recovered(self, id: str, due: float, *, runs: int, **fields: Any) -> Job:
        """
        Submit a job that has had so many runs and runs again ``due`` seconds from now.
        """
        job = self.make(id, **fields)
        job.runs = runs
        self.jobs.submit(job, NOW + due)
        self.settle()
        return job

    def test_sleeping(self) -> None:
        """
        A recurring job sleeps on until it is due.
        """
        self.recovered("a", 5.0, runs=0, recurring_period=10.0)
        self.assertEqual({"a": "sleeping"}, self.states())
        self.clock.advance(5)
        self.assertEqual(["a"], self.work.begun)

    def test_overdue(self) -> None:
        """
        What should have run meanwhile runs at once.
        """
        self.recovered("a", -5.0, runs=0, recurring_period=10.0)
        self.assertEqual(["a"], self.work.begun)

    def test_retrying(self) -> None:
        """
        A job that waits to be tried again keeps its queue waiting, as it did before.
        """
        self.recovered("a", 5.0, runs=1, queue="q", max_restart=1)
        self.submit("b", queue="q")
        self.assertEqual({"a": "retrying", "b": "waiting"}, self.states())
        self.clock.advance(5)
        self.assertEqual(["a"], self.work.begun)
        self.end("a", FAILED)
        self.assertEqual((2, ["a", "b"]), (self.result("a").runs, self.work.begun))

    def test_retrying_behind_others(self) -> None:
        """
        Whoever is before it in its queue runs first, and the queue goes on from one to the other.
        """
        self.submit("a", queue="q")
        self.recovered("b", 5.0, runs=1, queue="q", max_restart=1)
        self.clock.advance(6)
        self.assertEqual(["a"], self.work.begun)
        self.end("a")
        self.assertEqual(["a", "b"], self.work.begun)

    def test_killed(self) -> None:
        """
        It can be killed before it is due.
        """
        self.recovered("a", 5.0, runs=1, queue="q", max_restart=1)
        self.submit("b", queue="q")
        self.kill("a")
        self.assertEqual((State.KILLED, 1), (self.result("a").state, self.result("a").runs))
        self.assertEqual(["b"], self.work.begun)

    def test_marks_go_on(self) -> None:
        """
        The runs of the core0 before count.
        """
        self.recovered("a", 0.0, runs=2, max_restart=2)
        self.assertEqual(Mark(runs=3, started=int(NOW * 1000)), self.ledger.marks[1])
        self.end("a", FAILED)
        self.assertEqual(3, self.result("a").runs)
