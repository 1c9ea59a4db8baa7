"""
Jobs are sampled every so often, for as long as they have processes.
"""

import resource
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.job import Job
from core0.jobs.sampler import Sampler
from core0.jobs.usage import Gauge
from core0.values import Usage
from tests.fakes import MemoryRecords, MemoryTree
from tests.work import make_job

NOW = 1000.0


def _rounded(times: dict[str, list[Any]]) -> dict[str, list[int]]:
    """
    In ms after the first sample was due, in tenths of a second.
    """
    return {id: [round((time / 1000 - NOW - 1) * 10) * 100 for time in each] for id, each in times.items()}


class SamplerTests(SynchronousTestCase):
    """
    A sampler on a clock.
    """

    def setUp(self) -> None:
        """
        Jobs that all consume the same.
        """
        self.clock = Clock()
        self.clock.advance(NOW)
        self.records = MemoryRecords()
        self.looks: list[int] = []
        self.slow: Deferred[None] | None = None
        self.error: Exception | None = None
        self.sampler = self.begin(60.0)

    def begin(self, default: float) -> Sampler:
        """
        Start one.
        """
        sampler = Sampler(self.clock, Gauge(self.in_thread), self.records, default)
        sampler.start()
        self.addCleanup(sampler.stop)
        return sampler

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """
        In the place of a thread that measures.
        """
        if self.error is not None:
            raise self.error
        self.looks.append(len(arguments[0]))
        if self.slow is not None:
            await self.slow
        return Usage(), [Usage(cpu=1.5, rss=2, vms=3, swap=4, threads=5)] * len(arguments[0])

    def job(self, id: str, interval: float | None = None) -> Job:
        """
        A job that has processes.
        """
        job = make_job(id, stats_interval=interval)
        self.begin_again(job)
        return job

    def wait(self, seconds: int) -> None:
        """
        Let some seconds pass, one by one.
        """
        self.clock.pump([1.0] * seconds)

    def sampled(self) -> list[tuple[str, int]]:
        """
        Which jobs were sampled, and when, in seconds from the beginning.
        """
        return [(job, fields["time"] // 1000 - int(NOW)) for job, fields, _ in self.records.samples]

    def test_sample(self) -> None:
        """
        A sample has the time in ms, and what all processes of the job consume; it lives by the job's interval.
        """
        self.job("a", 5.0)
        self.wait(5)
        expected = {"time": 1_005_000, "cpu": 1.5, "rss": 2, "vms": 3, "swap": 4, "threads": 5}
        self.assertEqual([("a", expected, 5.0)], self.records.samples)

    def test_interval(self) -> None:
        """
        A job is sampled once in each interval, its own or else the default.
        """
        self.job("a", 5.0)
        self.job("b")
        self.wait(61)
        self.assertEqual([5 * number for number in range(1, 13)], [time for id, time in self.sampled() if id == "a"])
        self.assertEqual([60], [time for id, time in self.sampled() if id == "b"])
        self.assertEqual({("a", 5.0), ("b", 60.0)}, {(job, life) for job, _, life in self.records.samples})

    def test_zero(self) -> None:
        """
        Zero means the default, and if that is zero there are no samples.
        """
        self.job("a", 0.0)
        self.sampler = self.begin(0.0)
        self.job("b", 0.0)
        self.job("c")
        self.wait(61)
        self.assertEqual([("a", 60)], self.sampled())

    def test_below_a_second(self) -> None:
        """
        No job is sampled more often than once a second.
        """
        self.job("a", 0.01)
        self.wait(3)
        self.assertEqual([("a", 1), ("a", 2), ("a", 3)], self.sampled())

    def test_removed(self) -> None:
        """
        A job whose processes are gone is sampled no more.
        """
        job = self.job("a", 2.0)
        self.wait(3)
        self.end(job)
        self.wait(10)
        self.assertEqual([("a", 2)], self.sampled())

    def test_removed_without_samples(self) -> None:
        """
        A job that was never to be sampled is removed like any other.
        """
        self.sampler = self.begin(0.0)
        self.sampler.remove(self.job("a"))

    def test_many_short_runs(self) -> None:
        """
        A job that runs again and again within its interval has one sample for each run, at its end, if it asked for
        samples; none if it did not. None comes for a run that is over.
        """
        job, other = self.job("a", 5.0), self.job("b")
        for _ in range(3):
            self.wait(1)
            for each in (job, other):
                self.end(each)
                self.begin_again(each)
        self.wait(7)
        self.assertEqual([("a", 1), ("a", 2), ("a", 3), ("a", 8)], self.sampled())

    def end(self, job: Job, seconds: float = 0.0) -> None:
        """
        A run is over, in which so many seconds of CPU were used.
        """
        used = list(resource.getrusage(resource.RUSAGE_CHILDREN))
        used[0], used[1], used[2] = seconds / 4, seconds * 3 / 4, 7
        job.detached(resource.struct_rusage(used))
        self.sampler.remove(job)

    def begin_again(self, job: Job) -> None:
        """
        The next run.
        """
        job.tree, job.began = MemoryTree(1), self.clock.seconds()
        self.sampler.add(job)

    def test_whole(self) -> None:
        """
        The sample of a run that has had none tells of its whole: CPU by its length, and the memory of its largest
        process.
        """
        job = self.job("a", 60.0)
        self.wait(4)
        self.end(job, 3.0)
        expected = {"time": 1_004_000, "cpu": 75.0, "rss": 7 * 1024, "vms": 0, "swap": 0, "threads": 0}
        self.assertEqual([("a", expected, 60.0)], self.records.samples)
        self.assertEqual([], self.looks)
        self.begin_again(job)
        self.sampler.remove(job)
        self.assertEqual(2, len(self.records.samples))

    def test_had_one(self) -> None:
        """
        A run that has had a sample has none at its end.
        """
        job = self.job("a", 2.0)
        self.wait(3)
        self.end(job)
        self.assertEqual([("a", 2)], self.sampled())

    def test_from_the_start(self) -> None:
        """
        The first sample comes an interval after the start, wherever in a second that is, and the others an interval
        after that.
        """
        for id, wait in (("a", 0.0), ("b", 0.3), ("c", 0.4)):
            self.clock.advance(wait)
            self.job(id, 1.0)
        self.clock.pump([0.1] * 25)
        times = {id: [fields["time"] for job, fields, _ in self.records.samples if job == id] for id in "abc"}
        self.assertEqual({"a": [0, 1000, 2000], "b": [300, 1300], "c": [700, 1700]}, _rounded(times))

    def test_ended_meanwhile(self) -> None:
        """
        A look that was under way when a job ended says nothing of it, nor of its next run.
        """
        for next_run in (False, True):
            self.slow = Deferred()
            job = self.job(f"a{next_run}", 5.0)
            self.wait(5)
            self.end(job)
            if next_run:
                self.begin_again(job)
            slow, self.slow = self.slow, None
            slow.callback(None)
        self.end(job)
        self.assertEqual([0, 0, 0], [fields["threads"] for _, fields, _ in self.records.samples])

    def test_together(self) -> None:
        """
        All jobs that are due are looked at together; where none is due nobody looks.
        """
        for id in "abc":
            self.job(id, 5.0)
        self.job("d", 7.0)
        self.wait(7)
        self.assertEqual([3, 1], self.looks)

    def test_slow(self) -> None:
        """
        While a look takes long there is no second one beside it, and afterwards it goes on.
        """
        self.slow = Deferred()
        self.job("a", 1.0)
        self.wait(5)
        self.assertEqual(([1], []), (self.looks, self.sampled()))
        self.slow.callback(None)
        self.slow = None
        self.wait(2)
        self.assertGreaterEqual(len(self.sampled()), 2)

    def test_error(self) -> None:
        """
        A look that fails is not the last one.
        """
        self.error = OSError("too many open files")
        self.job("a", 2.0)
        self.wait(2)
        self.assertEqual(1, len(self.flushLoggedErrors(OSError)))
        self.error = None
        self.wait(2)
        self.assertEqual([("a", 4)], self.sampled())

    def test_stop(self) -> None:
        """
        It stops, also twice.
        """
        self.job("a", 1.0)
        self.sampler.stop()
        self.sampler.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
