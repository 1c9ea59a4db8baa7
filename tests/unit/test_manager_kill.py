"""
Jobs that clients end.
"""

from typing import Any

from twisted.internet.defer import Deferred

from core0.errors import Refusal
from core0.jobs.job import Job
from core0.messages import Outcome, State
from tests.fakes import MemoryTree
from tests.unit.jobs import NOW, JobsCase
from tests.work import CUT, FAILED, Work

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

    def test_many(self) -> None:
        """
        Many are killed over several turns; one whose run ends meanwhile, and that would run again, is killed, too.
        """
        ids = [f"{number:03}" for number in range(120)]
        for id in ids:
            self.submit(id, Work(urgent=True), max_restart=1)
        last = self.jobs.find(ids[-1])
        killing = Deferred.fromCoroutine(self.jobs.killall(""))
        self.assertNoResult(killing)
        last.adapter.end(ids[-1], FAILED)  # type: ignore[attr-defined] # it is a Work
        self.assertEqual("retrying", last.state)
        self.settle()
        self.assertEqual(ids, self.successResultOf(killing))
        self.assertEqual(({}, []), (self.states(), self.clock.getDelayedCalls()))
        self.assertEqual({State.KILLED}, {self.result(id).state for id in ids})

    def test_nobody(self) -> None:
        """
        Where there is nobody, nobody is killed.
        """
        self.assertEqual([], self.killall())
