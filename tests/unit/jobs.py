"""
The base of tests of jobs: a manager on a clock, with a ledger in memory.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.interfaces import ICommand
from core0.jobs.job import Job
from core0.jobs.manager import Jobs
from core0.messages import Outcome, Result
from tests.fakes import MemoryLedger
from tests.work import Work, make_job

NOW = 1_000_000.0  # seconds since the epoch


class JobsCase(SynchronousTestCase):
    """
    Tests with jobs.

    :cvar limit: of live jobs.
    :cvar waiting: jobs that may wait.
    """

    limit = 100
    waiting = 100

    def setUp(self) -> None:
        """
        A new manager, and a command that ends when the test says so.
        """
        self.clock = Clock()
        self.clock.advance(NOW)
        self.ledger = MemoryLedger()
        self.work = Work()
        self.seq = 0
        self.jobs = self.make_jobs()

    def make_jobs(self) -> Jobs:
        """
        A manager, on the ledger of this test.
        """
        return Jobs(self.clock, self.ledger, limit=self.limit, waiting=self.waiting)

    def make(self, id: str, adapter: ICommand | None = None, **fields: Any) -> Job:
        """
        A job whose entry is among the unfinished.
        """
        self.seq += 1
        self.ledger.unfinished[self.seq] = b"{}"
        return make_job(id, adapter or self.work, seq=self.seq, **fields)

    def submit(self, id: str, adapter: ICommand | None = None, due: float = 0.0, **fields: Any) -> Job:
        """
        Submit such a job.
        """
        job = self.make(id, adapter, **fields)
        self.jobs.submit(job, due)
        self.settle()
        return job

    def settle(self) -> None:
        """
        Let everything happen that waits for its turn.
        """
        self.clock.advance(0)

    def end(self, id: str, outcome: Outcome | Exception | None = None, work: Work | None = None) -> None:
        """
        End the run of a job: well, if nothing else is said.
        """
        (work or self.work).end(id, outcome)
        self.settle()

    def come_back(self) -> None:
        """
        The server of the ledger is there again.
        """
        self.ledger.come_back()
        self.settle()

    def results(self, id: str) -> list[Result]:
        """
        All results that were published for a job, in order.
        """
        return [final.result for final in self.ledger.finals if final.id == id]

    def result(self, id: str) -> Result:
        """
        The only one.
        """
        found = self.results(id)
        self.assertEqual(1, len(found), found)
        return found[0]

    def kill(self, id: str, signal: int | None = None) -> None:
        """
        Kill a job, as ``core.kill`` does.
        """
        self.successResultOf(self.jobs.kill(id, signal))
        self.settle()

    def killall(self, but: str = "") -> Sequence[str]:
        """
        Kill all jobs but one, as ``core.killall`` does.
        """
        killed: Sequence[str] = self.successResultOf(self.jobs.killall(but))
        self.settle()
        return killed

    def stop(self) -> "Deferred[None]":
        """
        Begin to stop.
        """
        return Deferred.fromCoroutine(self.jobs.stop())

    def states(self) -> dict[str, str]:
        """
        Of the jobs that are not finished, in their order.
        """
        return {job.id: job.state for job in self.jobs.listed()}
