"""
Jobs that are ended from outside: killed, or because core0 stops.
"""

from typing import Any

from twisted.internet.defer import Deferred

from core0.errors import Refusal
from core0.jobs.job import Job
from core0.messages import Mark, Outcome, State
from core0.waiting import Occurrence
from tests.fakes import CUT, FAILED, MemoryTree, Work
from tests.unit.jobs import NOW, JobsCase

TERM, HUP, KILL = 15, 1, 9


class KillTests(JobsCase):
    """
    ``core.kill``.
    """

    limit = 1

    def assert_killed(self, id: str, *, code: int = 137, runs: int) -> None:
        """
        The job has one result, and says so.
        """
        result = self.results(id)[-1]
        self.assertEqual((State.KILLED, code, runs), (result.state, result.code, result.runs))
        self.assertNotIn(id, self.states())
        self.assertFalse(self.ledger.finals[-1].keep)

    def test_running(self) -> None:
        """
        A running job is ended, and is KILLED with the code that its processes ended with.
        """
        work = Work(ends_late=True)
        self.submit("a", work)
        self.kill("a")
        self.assertEqual([], self.results("a"))
        self.end("a", CUT, work)
        self.assert_killed("a", code=143, runs=1)

    def test_exit_zero(self) -> None:
        """
        A job whose handler of TERM exits with 0 is KILLED nevertheless, with a code that is not that of success.
        """
        work = Work(ends_late=True)
        self.submit("a", work, max_restart=3)
        self.kill("a")
        self.end("a", Outcome(code=0, cut=True), work)
        self.assert_killed("a", runs=1)

    def test_starting(self) -> None:
        """
        A job that is killed while its start is being noted never runs.
        """
        self.ledger.leave()
        self.submit("a")
        self.kill("a")
        self.come_back()
        self.assertEqual([], self.work.begun)
        self.assert_killed("a", runs=0)
        self.assertEqual(0, self.jobs.live)

    def test_waiting(self) -> None:
        """
        A job that waits for room is killed at once, and does not run when there is room.
        """
        self.submit("a")
        self.submit("b")
        self.clock.advance(3)
        self.kill("b")
        self.assert_killed("b", runs=0)
        self.assertEqual((0, int(NOW + 3) * 1000), (self.result("b").time, self.result("b").starttime))
        self.end("a")
        self.assertEqual(["a"], self.work.begun)

    def test_retrying(self) -> None:
        """
        A job that waits to be tried again is killed, with the runs that it had.
        """
        self.submit("a", max_restart=3)
        self.end("a", FAILED)
        self.kill("a")
        self.assert_killed("a", runs=1)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_sleeping(self) -> None:
        """
        A recurring job is killed between its runs: one more result, and none afterwards.
        """
        self.submit("a", recurring_period=10.0)
        self.end("a")
        self.kill("a")
        self.assertEqual([State.SUCCESS, State.KILLED], [result.state for result in self.results("a")])
        self.assert_killed("a", runs=0)
        self.clock.advance(100)
        self.assertEqual(["a"], self.work.begun)

    def test_twice(self) -> None:
        """
        Killing again while the processes have their grace cuts it short; there is one result.
        """
        work = Work(ends_late=True)
        self.submit("a", work)
        self.kill("a")
        self.assertEqual({"a"}, work.cleaning)
        self.kill("a")
        self.assert_killed("a", runs=1)
        self.assertEqual(1, len(self.results("a")))

    def test_while_it_times_out(self) -> None:
        """
        A job that is killed while a run of it is timing out is KILLED, and does not run again.
        """
        work = Work(ends_late=True)
        self.submit("a", work, max_time=5.0, max_restart=3)
        self.clock.advance(5)
        self.kill("a")
        self.assert_killed("a", runs=1)
        self.assertEqual({}, self.states())

    def running(self, **fields: Any) -> tuple[Job, MemoryTree]:
        """
        A running job with a process.
        """
        job, tree = self.submit("a", **fields), MemoryTree(7)
        job.attached(tree, 7)
        return job, tree

    def test_signal(self) -> None:
        """
        A signal that is not deadly is sent once, and nothing else happens.
        """
        _, tree = self.running(max_restart=1)
        self.kill("a", HUP)
        self.assertEqual(([HUP], {"a": "running"}), (tree.signals, self.states()))
        self.end("a", Outcome(state=State.ERROR, code=129))
        self.assertEqual({"a": "retrying"}, self.states())

    def test_deadly_signal(self) -> None:
        """
        TERM is sent once; whenever the job ends it was killed, and does not run again.
        """
        for number in (TERM, KILL):
            _, tree = self.running(max_restart=1, recurring_period=10.0)
            self.kill("a", number)
            self.assertEqual(([number], {"a": "running"}), (tree.signals, self.states()))
            self.clock.advance(1000)
            self.end("a", Outcome(code=0))
            self.assert_killed("a", runs=1)

    def test_kill_after_a_signal(self) -> None:
        """
        A job that does not mind TERM as a signal can still be killed.
        """
        _, _tree = self.running()
        self.kill("a", TERM)
        self.kill("a")
        self.assert_killed("a", runs=1)

    def test_signal_to_none(self) -> None:
        """
        A signal to a job without a process is refused, naming what the job is doing; a deadly one ends it.
        """
        self.submit("a")
        self.submit("b")
        for id, state in (("a", "running"), ("b", "waiting")):
            error = self.failureResultOf(self.jobs.kill(id, HUP), Refusal).value
            self.assertEqual(409, error.code)
            self.assertIn(f"while it is {state}", str(error))
        self.kill("b", TERM)
        self.assert_killed("b", runs=0)
        self.kill("a", KILL)
        self.assert_killed("a", runs=1)

    def test_its_verdict_is_of_one_run(self) -> None:
        """
        That one run of a recurring job timed out says nothing about its next one.
        """
        self.submit("a", recurring_period=10.0, max_time=5.0)
        self.clock.advance(5)
        self.clock.advance(10)
        self.end("a")
        self.assertEqual([State.TIMEOUT, State.SUCCESS], [result.state for result in self.results("a")])


class KillAllTests(JobsCase):
    """
    ``core.killall``.
    """

    limit = 3

    def test_everything(self) -> None:
        """
        Jobs in every phase are killed, and their ids are told in order.
        """
        self.submit("sleeping", recurring_period=10.0)
        self.end("sleeping")
        self.submit("retrying", max_restart=1)
        self.end("retrying", FAILED)
        for id in ("r1", "r2", "r3", "waiting"):
            self.submit(id)
        self.assertEqual(["r1", "r2", "r3", "retrying", "sleeping", "waiting"], self.killall())
        self.assertEqual(({}, 0), (self.states(), self.jobs.live))
        self.assertEqual([State.KILLED] * 3, [self.results(id)[-1].state for id in ("r1", "retrying", "sleeping")])
        self.assertEqual({}, self.ledger.unfinished)
        self.assertEqual(["sleeping", "retrying", "r1", "r2", "r3"], self.work.begun)

    def test_exempt(self) -> None:
        """
        The one that asks and the protected ones are spared.
        """
        self.submit("me")
        self.submit("service", protected=True)
        self.submit("a")
        self.assertEqual(["a"], self.killall("me"))
        self.assertEqual(["me", "service"], list(self.states()))

    def test_queues(self) -> None:
        """
        Of a queue of which all are killed nobody else runs, and each has one result.
        """
        for id in "abcd":
            self.submit(id, queue="q")
        self.killall()
        self.assertEqual(["a"], self.work.begun)
        self.assertEqual([State.KILLED] * 4, [self.result(id).state for id in "abcd"])

    def test_spared_in_a_queue(self) -> None:
        """
        A protected job that waited behind killed ones gets its turn.
        """
        self.submit("a", queue="q")
        self.submit("b", queue="q")
        self.submit("service", queue="q", protected=True)
        self.killall()
        self.assertEqual(["a", "service"], self.work.begun)

    def test_nobody(self) -> None:
        """
        Where there is nobody, nobody is killed.
        """
        self.assertEqual([], self.killall())


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
