"""
What is written down of a job: that it starts, that it waits, how it ended.
"""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from core0.clock import epoch
from core0.interfaces import ILedger
from core0.jobs.job import Job
from core0.messages import Mark, Outcome, result_of
from core0.values import Final

LATE = 86400.0  # seconds that a recurring result outlives the time when the next one is due


class Bookkeeping:
    """
    :param core: the number that results carry: 0 for a host.
    """

    def __init__(self, clock: IReactorTime, ledger: ILedger, core: int) -> None:
        self._clock = clock
        self._ledger = ledger
        self._core = core

    def starts(self, job: Job) -> "Deferred[None]":
        """
        It is about to run once more. Fires when that is safely written.
        """
        return self._ledger.mark(job.seq, Mark(runs=job.runs + 1, started=self._now()))

    def runs(self, job: Job) -> None:
        """
        It has a process.
        """
        self._ledger.mark(job.seq, Mark(runs=job.runs, started=self._now(), pid=job.pid))

    def condemned(self, job: Job) -> None:
        """
        Its end was asked for: whatever becomes of this core0, it does not run again.
        """
        started = int(job.started * 1000) or self._now()
        self._ledger.mark(job.seq, Mark(runs=job.runs, started=started, pid=job.pid, killed=True))

    def waits(self, job: Job, seconds: float) -> None:
        """
        Its run is over, and it runs again after so long.
        """
        due = self._now() + int(seconds * 1000)
        self._ledger.mark(job.seq, Mark(runs=job.runs, started=self._now(), due=due))

    def ended(self, job: Job, outcome: Outcome, *, keep: bool) -> None:
        """
        The result of a run.

        :param keep: the job goes on.
        """
        result = result_of(
            job.command,
            job.id,
            outcome,
            container=self._core,
            starttime=int(job.started * 1000),
            time=int(max(0.0, job.ended - job.began) * 1000),
            runs=job.runs,
        )
        traces = not job.adapter.repeatable
        life = (job.command.recurring_period or 0) + max(job.command.max_time or 0, LATE) if keep else 0.0
        self._ledger.finish(Final(job.seq, job.id, job.digest, result, keep, life, traces))

    def _now(self) -> int:
        return int(epoch(self._clock) * 1000)
