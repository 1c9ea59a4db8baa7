"""
Who runs, who waits, and what becomes of each job.
"""

import gc
from weakref import ref

from twisted.internet.defer import CancelledError
from zope.interface.verify import verifyObject

from core0.errors import Refusal
from core0.interfaces import IJob, IJobs
from core0.jobs.job import Job
from core0.messages import Mark, Outcome, State
from tests.unit.jobs import NOW, JobsCase
from tests.work import FAILED, Work


class RunningTests(JobsCase):
    """
    Jobs that run to their end.
    """

    def test_interface(self) -> None:
        """
        The manager is what commands are promised.
        """
        verifyObject(IJobs, self.jobs)

    def test_one_job(self) -> None:
        """
        A job runs at once; its result says what came of it, when it began, and how long it took.
        """
        job = self.submit("a", tags="mine")
        self.assertEqual({"a": "running"}, self.states())
        self.assertIs(job, self.jobs.find("a"))
        self.clock.advance(2.5)
        self.assertEqual([], self.results("a"))
        self.end("a", Outcome(code=0, streams=(b"out", b"err"), data="1", level=20))
        result = self.result("a")
        self.assertEqual((State.SUCCESS, 0, "1", 20), (result.state, result.code, result.data, result.level))
        self.assertEqual((int(NOW * 1000), 2500, 1), (result.starttime, result.time, result.runs))
        self.assertEqual((("out", "err"), "mine", 0), (result.streams, result.tags, result.container))
        self.assertEqual(({}, 0), (self.states(), self.jobs.live))
        self.assertEqual({}, self.ledger.unfinished)

    def test_unknown(self) -> None:
        """
        Asking for a job that there is not, or not any more, is refused with 404 and its id.
        """
        error = self.assertRaises(Refusal, self.jobs.find, "nobody")
        self.assertEqual(404, error.code)
        self.assertIn("nobody", str(error))
        self.submit("a")
        self.end("a")
        self.assertEqual(404, self.failureResultOf(self.jobs.kill("a", None), Refusal).value.code)

    def test_noted_before_it_runs(self) -> None:
        """
        A job runs only once its start is noted where it survives a crash.
        """
        self.ledger.leave()
        self.submit("a")
        self.assertEqual(({"a": "starting"}, 1), (self.states(), self.jobs.live))
        self.assertEqual([], self.work.begun)
        self.come_back()
        self.assertEqual(["a"], self.work.begun)
        self.assertEqual(Mark(runs=1, started=int(NOW * 1000)), self.ledger.marks[1])

    def test_repeatable_is_not_noted(self) -> None:
        """
        A command that may be repeated needs no note, so it does not wait for one.
        """
        work = Work(repeatable=True)
        self.ledger.leave()
        self.submit("a", work)
        self.assertEqual(["a"], work.begun)
        self.assertEqual({}, self.ledger.marks)

    def test_raises(self) -> None:
        """
        A command that breaks is answered with 500; what broke is for the log alone.
        """
        self.submit("a")
        self.end("a", RuntimeError("secret"))
        result = self.result("a")
        self.assertEqual((State.ERROR, 500, 20), (result.state, result.code, result.level))
        self.assertNotIn("secret", result.data)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assertEqual(({}, 0), (self.states(), self.jobs.live))

    def test_refuses(self) -> None:
        """
        A command that refuses is answered with its code and its words.
        """
        self.submit("a", max_restart=3)
        self.end("a", Refusal(409, "cannot: in use"))
        result = self.result("a")
        self.assertEqual((State.ERROR, 409), (result.state, result.code))
        self.assertEqual(('"cannot: in use"', 20), (result.data, result.level))

    def test_cancelled_by_itself(self) -> None:
        """
        A command that gives up without being told to ends as a failure, and is tried again like one.
        """
        self.submit("a", max_restart=1)
        self.end("a", CancelledError())
        self.assertEqual({"a": "retrying"}, self.states())
        self.clock.advance(2)
        self.end("a", CancelledError())
        self.assertEqual((State.ERROR, 137, 2), (self.result("a").state, self.result("a").code, self.result("a").runs))

    def test_raises_at_once(self) -> None:
        """
        A command that ends before it ever waited is answered, and its queue goes on.
        """

        class Hasty(Work):
            async def run(self, job: IJob) -> Outcome:
                raise Refusal(400, "cannot")

        hasty = Hasty()
        for id in "abc":
            self.submit(id, hasty, queue="q")
        self.assertEqual([400, 400, 400], [self.result(id).code for id in "abc"])
        self.assertEqual(({}, 0), (self.states(), self.jobs.live))

    def test_no_result_twice(self) -> None:
        """
        A job that was killed while it ended has one result.
        """

        class Suicide(Work):
            async def run(inner, job: IJob) -> Outcome:
                await self.jobs.kill(job.id, None)
                return Outcome()

        self.submit("a", Suicide())
        self.assertEqual(State.KILLED, self.result("a").state)

    def test_startup_service(self) -> None:
        """
        A job of core0's own has no entry: nothing is noted of it.
        """
        job = self.make("service")
        job.seq = 0
        self.jobs.submit(job)
        self.settle()
        self.assertEqual(["service"], self.work.begun)
        self.assertEqual({}, self.ledger.marks)

    def test_told(self) -> None:
        """
        Whoever asked to be told hears of each end and of the room that it makes.
        """
        told: list[object] = []
        self.jobs.on_ended = lambda job, outcome: told.append((job.id, outcome.state))
        self.jobs.on_room = lambda: told.append("room")
        self.submit("a")
        self.assertEqual([], told)
        self.end("a")
        self.assertEqual(("a", State.SUCCESS), told[0])
        self.assertIn("room", told[1:])


class LimitTests(JobsCase):
    """
    At most so many at once.
    """

    limit = 2
    waiting = 3

    def test_waiting(self) -> None:
        """
        Above the limit jobs wait, and run in the order in which they came.
        """
        for id in "abcd":
            self.submit(id)
        self.assertEqual(["a", "b"], self.work.begun)
        self.assertEqual({"a": "running", "b": "running", "c": "waiting", "d": "waiting"}, self.states())
        self.end("b")
        self.assertEqual(["a", "b", "c"], self.work.begun)
        self.end("c")
        self.end("a")
        self.end("d")
        self.assertEqual(0, self.jobs.live)

    def test_urgent(self) -> None:
        """
        An urgent command runs at once, however many are live.
        """
        for id in "abc":
            self.submit(id)
        urgent = Work(urgent=True)
        self.submit("now", urgent)
        self.assertEqual((["now"], 3), (urgent.begun, self.jobs.live))
        self.end("now", None, urgent)
        self.assertEqual((["a", "b"], 2), (self.work.begun, self.jobs.live))

    def test_room(self) -> None:
        """
        There is room for so many live and so many waiting jobs; urgent ones above that make it none, never less.
        """
        self.assertEqual(5, self.jobs.room())
        for count, id in enumerate("abcde", 1):
            self.submit(id)
            self.assertEqual(5 - count, self.jobs.room())
        urgent = Work(urgent=True)
        for id in "xyz":
            self.submit(id, urgent)
        self.submit("f")
        self.assertEqual(0, self.jobs.room())
        self.end("a")
        self.assertEqual(0, self.jobs.room())

    def test_bytes(self) -> None:
        """
        All payloads together have a limit of their own, whether their jobs are live or wait.
        """
        self.submit("a", size=200 << 20)
        self.submit("b", size=1)
        self.assertEqual(3, self.jobs.room())
        self.submit("c", size=55 << 20)
        self.assertEqual(2, self.jobs.room())
        self.submit("d", size=1 << 20)
        self.assertEqual(0, self.jobs.room())
        self.kill("d")
        self.assertEqual(2, self.jobs.room())
        self.end("a")
        self.assertEqual((55 << 20) + 1, self.jobs.payloads.size)

    def test_spent(self) -> None:
        """
        What the program of a live job has read is forgotten, and counts no more.
        """
        job = self.submit("a", size=300 << 20)
        self.assertEqual(0, self.jobs.room())
        job.spent(0)
        self.assertIsNone(job.arguments)
        self.assertEqual(0, self.jobs.room())
        job.spent(299 << 20)
        self.assertEqual((4, 1 << 20), (self.jobs.room(), self.jobs.payloads.size))
        job.spent(299 << 20)
        self.assertEqual(0, self.jobs.payloads.size)
        self.end("a")
        self.assertEqual((5, 0), (self.jobs.room(), self.jobs.payloads.size))

    def test_not_spent(self) -> None:
        """
        A job that may run again keeps all that it was given, until its last run; a small one to its end.
        """
        job = self.submit("a", size=1 << 20, max_restart=1)
        job.spent(1 << 20)
        self.assertIsNotNone(job.arguments)
        self.assertEqual(1 << 20, self.jobs.payloads.size)
        self.end("a", FAILED)
        self.clock.advance(1.2)
        job.spent(1 << 20)
        self.assertEqual((None, 0), (job.arguments, self.jobs.payloads.size))
        recurring = self.submit("b", size=1 << 20, recurring_period=1.0)
        recurring.spent(1 << 20)
        small = self.submit("c", size=1000)
        small.spent(1000)
        self.assertIsNotNone(small.arguments)
        self.assertEqual((1 << 20) + 1000, self.jobs.payloads.size)

    def test_killed_are_let_go(self) -> None:
        """
        Of thousands of jobs that are killed while they wait for room, or for their queue, nothing is kept.
        """
        for id in ("a", "b"):
            self.submit(id)
        gone = []
        for number in range(2000):
            job = self.submit(f"c{number}", queue="" if number % 2 else "q", size=1000)
            gone.append(ref(job))
            self.kill(job.id)
            self.ledger.finals.clear()
            del job
        self.assertEqual({"a": "running", "b": "running"}, self.states())
        gc.collect()
        self.assertEqual(0, sum(job() is not None for job in gone))

    def test_bytes_come_back(self) -> None:
        """
        The bytes of a job count once while it waits, runs, is tried again or sleeps, and not after its end.
        """
        self.submit("a", size=7, max_restart=1, recurring_period=10.0)
        self.assertEqual(7, self.jobs.payloads.size)
        self.end("a", FAILED)
        self.assertEqual(7, self.jobs.payloads.size)
        self.clock.advance(1.2)
        self.assertEqual(7, self.jobs.payloads.size)
        self.end("a")
        self.assertEqual(7, self.jobs.payloads.size)
        self.submit("b", size=11)
        self.submit("c", size=13)
        self.submit("d", size=17)
        self.assertEqual(7 + 11 + 13 + 17, self.jobs.payloads.size)
        self.kill("a")
        self.kill("d")
        self.end("b")
        self.assertEqual(13, self.jobs.payloads.size)
        self.killall()
        self.assertEqual(({}, 0), (self.states(), self.jobs.payloads.size))


class FindTests(JobsCase):
    """
    What can be asked of the jobs.
    """

    def test_listed(self) -> None:
        """
        All jobs that are not finished are listed, oldest first, with their entries.
        """
        jobs: list[Job] = [self.submit(id) for id in "abc"]
        self.assertEqual(jobs, self.jobs.listed())
        self.end("b")
        self.assertEqual([jobs[0], jobs[2]], self.jobs.listed())
        self.assertEqual({1, 3}, {job.seq for job in self.jobs.listed()})
