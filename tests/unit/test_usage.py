"""
What processes consume, from one look to the next.
"""

import gc
import os
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.usage import Gauge, Meter, total
from core0.procfs import Figures
from core0.values import Usage
from tests.fakes import MemoryTree, at_once
from tests.work import make_job

MIB = 1 << 20


class MeterTests(SynchronousTestCase):
    """
    One tree.
    """

    def setUp(self) -> None:
        """
        A machine whose processes and time are what the test says.
        """
        self.processes: dict[int, Figures] = {}
        self.time = 100.0
        self.meter = Meter(lambda pid, swapping: self.processes.get(pid), lambda: self.time)

    def process(self, pid: int, cpu: float, started: int = 1) -> None:
        """
        A process, with so many seconds of CPU behind it.
        """
        self.processes[pid] = Figures(cpu=cpu, started=started, rss=MIB, vms=3 * MIB, swap=5, threads=2)

    def look(self, *pids: int, after: float = 10.0) -> Usage:
        """
        Look some seconds later.
        """
        self.time += after
        return self.meter.look(pids)

    def test_sum(self) -> None:
        """
        The figures of all processes are added up; those that are gone do not count.
        """
        self.process(1, 5.0)
        self.process(2, 7.0)
        self.assertEqual(Usage(cpu=0.0, rss=2 * MIB, vms=6 * MIB, swap=10, threads=4), self.look(1, 2, 3))

    def test_nobody(self) -> None:
        """
        Nobody consumes nothing.
        """
        self.assertEqual(Usage(), self.look())
        self.assertEqual(Usage(), self.look(1))

    def test_cpu(self) -> None:
        """
        CPU is what was used since the last look, in % of one core, nothing at the first.
        """
        self.process(1, 50.0)
        self.assertEqual(0.0, self.look(1).cpu)
        self.process(1, 55.0)
        self.assertEqual(50.0, self.look(1).cpu)
        self.process(1, 85.0)
        self.assertEqual(300.0, self.look(1).cpu)
        self.assertEqual(0.0, self.look(1).cpu)

    def test_new_process(self) -> None:
        """
        What a process has used that is new since the last look counts in full.
        """
        self.process(1, 50.0)
        self.look(1)
        self.process(2, 2.0)
        self.assertEqual(20.0, self.look(1, 2).cpu)
        self.assertEqual(0.0, self.look(1, 2).cpu)

    def test_same_number(self) -> None:
        """
        Another process with the number of one that has ended is a new one.
        """
        self.process(1, 50.0)
        self.look(1)
        self.process(1, 1.0, started=2)
        self.assertEqual(10.0, self.look(1).cpu)

    def test_ended(self) -> None:
        """
        A process that has ended takes nothing back.
        """
        self.process(1, 50.0)
        self.process(2, 50.0)
        self.look(1, 2)
        del self.processes[2]
        self.process(1, 51.0)
        self.assertEqual(10.0, self.look(1, 2).cpu)

    def test_at_the_same_time(self) -> None:
        """
        Two looks at the same moment are no division by zero.
        """
        self.process(1, 50.0)
        self.look(1)
        self.process(1, 51.0)
        self.assertEqual(0.0, self.look(1, after=0.0).cpu)

    def test_real(self) -> None:
        """
        This very process has memory and threads.
        """
        usage = Meter().look([os.getpid()])
        self.assertGreater(usage.rss, MIB)
        self.assertGreater(usage.vms, usage.rss)
        self.assertGreater(usage.threads, 0)


class TotalTests(SynchronousTestCase):
    """
    Several trees.
    """

    def test_total(self) -> None:
        """
        The sum is that of each figure.
        """
        one, other = Usage(1.5, 1, 2, 3, 4), Usage(2.05, 10, 20, 30, 40)
        self.assertEqual(Usage(3.5, 11, 22, 33, 44), total([one, other]))
        self.assertEqual(Usage(), total([]))


class GaugeTests(SynchronousTestCase):
    """
    Looking at all jobs.
    """

    def test_jobs(self) -> None:
        """
        Each job is looked at by itself, one without processes consumes nothing, and so is core0 itself.
        """
        alive, waiting = make_job("a"), make_job("b")
        alive.tree = MemoryTree(os.getpid())
        own, (first, second) = self.successResultOf(Gauge(at_once).look([alive, waiting]))
        self.assertGreater(own.rss, MIB)
        self.assertGreater(first.rss, MIB)
        self.assertEqual(Usage(), second)

    def test_in_a_thread(self) -> None:
        """
        All of it is read in one go, in a thread.
        """
        calls: list[Any] = []

        async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
            calls.append(work)
            return work(*arguments)

        self.successResultOf(Gauge(in_thread).look([make_job(id) for id in "abc"]))
        self.assertEqual(1, len(calls))

    def test_forgets(self) -> None:
        """
        A job that is gone is not remembered.
        """
        gauge = Gauge(at_once)
        self.successResultOf(gauge.look([make_job("a"), make_job("b")]))
        gc.collect()
        self.assertEqual(0, len(gauge._meters))
