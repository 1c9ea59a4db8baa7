"""
Sampling: what each job's processes consume, every so often.
"""

import heapq
import math
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.clock import epoch
from core0.interfaces import IRecords
from core0.jobs.job import Job
from core0.jobs.usage import Gauge
from core0.values import Usage

UNITS = 10  # a second: when samples are due is counted in these
SHORTEST = 1.0  # seconds between two samples of a job
LONG = 10.0  # seconds: from here on samples are due at whole seconds, so that more of them are taken together


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
        # by when they are due: the cost of a look is that of the jobs due at the same time
        self._due: dict[int, set[Job]] = {}
        self._order: list[int] = []  # the keys of that, as a heap; some have nobody left
        self._started = self._looking = False
        self._call: IDelayedCall | None = None
        self._called = 0  # for when that is

    def start(self) -> None:
        """
        Begin to sample.
        """
        self._started = True
        self._schedule()

    def stop(self) -> None:
        """
        Sample no more.
        """
        self._started = False
        self._schedule()

    def add(self, job: Job) -> None:
        """
        Sample this job from now on, until it is removed.
        """
        job.sampled = False
        if self._interval(job) > 0:
            self._plan(job)
            self._schedule()

    def remove(self, job: Job) -> None:
        """
        Its processes are gone. If it asked for samples and has had none, there is one of the whole run.
        """
        others = self._due.get(job.due)
        if others is not None:
            others.discard(job)
            if not others:
                del self._due[job.due]
        if job.command.stats_interval and not job.sampled:
            self._record(job, self._whole(job))

    def _interval(self, job: Job) -> float:
        """
        In seconds; 0 for none.
        """
        wanted = job.command.stats_interval or self._default
        return max(wanted, SHORTEST) if wanted > 0 else 0.0

    def _plan(self, job: Job, last: int = 0) -> None:
        """
        :param last: when it was due; 0: not yet.
        """
        interval = self._interval(job)
        grid = UNITS if interval >= LONG else 1
        now = self._clock.seconds() * UNITS
        due = last + interval * UNITS
        if due <= now:
            due = now + interval * UNITS
        job.due = math.ceil(round(due / grid, 3)) * grid
        if job.due not in self._due:
            self._due[job.due] = set()
            heapq.heappush(self._order, job.due)
        self._due[job.due].add(job)

    def _schedule(self) -> None:
        """
        Be called when the next ones are due, unless a look is under way: after that.
        """
        while self._order and self._order[0] not in self._due:
            heapq.heappop(self._order)
        first = self._order[0] if self._started and not self._looking and self._order else 0
        if self._call is not None:
            if self._called == first:
                return  # thousands of jobs come before that
            self._call.cancel()
            self._call = None
        if first:
            self._called = first
            self._call = self._clock.callLater(max(0.0, first / UNITS - self._clock.seconds()), self._tick)

    def _tick(self) -> None:
        self._call, self._looking = None, True
        Deferred.fromCoroutine(self._sample())

    async def _sample(self) -> None:
        """
        The jobs that are due, all in one go.
        """
        try:
            now = self._clock.seconds() * UNITS
            due = []
            while self._order and self._order[0] <= now + 0.5:
                at = heapq.heappop(self._order)
                due += [job for job in self._due.pop(at, ()) if job.tree is not None]
            for job in due:
                self._plan(job, job.due)
            if due:
                await self._look(due)
        except Exception:
            self._log.failure("cannot sample", Failure())
        finally:
            self._looking = False
            self._schedule()

    async def _look(self, due: Sequence[Job]) -> None:
        trees = [job.tree for job in due]
        _, usages = await self._gauge.look(due)
        for job, tree, usage in zip(due, trees, usages, strict=True):
            if job.tree is tree:  # else that run is over by now
                job.sampled = True
                self._record(job, usage)

    def _whole(self, job: Job) -> Usage:
        """
        Of a run that is over: nothing is left to be looked at.
        """
        if job.used is None:
            return Usage()
        seconds = self._clock.seconds() - job.began
        cpu = 100 * (job.used.ru_utime + job.used.ru_stime) / seconds if seconds > 0 else 0.0
        return Usage(cpu=round(cpu, 1), rss=job.used.ru_maxrss * 1024)

    def _record(self, job: Job, usage: Usage) -> None:
        fields: dict[str, str | int | float] = {
            "time": int(epoch(self._clock) * 1000),
            "cpu": usage.cpu,
            "rss": usage.rss,
            "vms": usage.vms,
            "swap": usage.swap,
            "threads": usage.threads,
        }
        self._records.sample(job.id, fields, self._interval(job))
