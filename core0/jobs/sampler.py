"""
Sampling: what each job's processes consume, every so often.
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.clock import epoch
from core0.interfaces import IRecords
from core0.jobs.job import Job
from core0.jobs.usage import Gauge

TICK = 1.0  # seconds


class Sampler:
    """
    :param default: seconds between samples of a job that does not say; 0 for none.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, gauge: Gauge, records: IRecords, default: float) -> None:
        self._clock = clock
        self._gauge = gauge
        self._records = records
        self._default = default
        # by the second in which they are due: the cost of a tick is that of the jobs due in it
        self._due: dict[int, set[Job]] = {}
        self._ticked = int(clock.seconds())
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def start(self) -> None:
        """
        Begin to sample.
        """
        self._loop.start(TICK, now=False)

    def stop(self) -> None:
        """
        Sample no more.
        """
        if self._loop.running:
            self._loop.stop()

    def add(self, job: Job) -> None:
        """
        Sample this job from now on, until it is removed.
        """
        interval = job.command.stats_interval or self._default
        if interval > 0:
            job.due = max(int(self._clock.seconds() + interval), self._ticked + 1)
            self._due.setdefault(job.due, set()).add(job)

    def remove(self, job: Job) -> None:
        """
        Its processes are gone.
        """
        others = self._due.get(job.due)
        if others is not None:
            others.discard(job)
            if not others:
                del self._due[job.due]

    def _tick(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._sample()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("cannot sample", failure)

    async def _sample(self) -> None:
        """
        The jobs that are due, all in one go.
        """
        now = int(self._clock.seconds())
        seconds = [second for second in self._due if second <= now]
        self._ticked = now
        due = [job for second in seconds for job in self._due.pop(second) if job.tree is not None]
        if due:
            for job in due:
                self.add(job)
            await self._look(due)

    async def _look(self, due: Sequence[Job]) -> None:
        _, usages = await self._gauge.look(due)
        time = int(epoch(self._clock) * 1000)
        for job, usage in zip(due, usages, strict=True):
            fields: dict[str, str | int | float] = {
                "time": time,
                "cpu": usage.cpu,
                "rss": usage.rss,
                "vms": usage.vms,
                "swap": usage.swap,
                "threads": usage.threads,
            }
            self._records.sample(job.id, fields, job.command.stats_interval or self._default)
