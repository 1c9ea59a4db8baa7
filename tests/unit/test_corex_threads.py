"""
The threads of a CoreX, whose container may have as many processes as it may have.
"""

from functools import partial
from threading import Event, Thread
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase

from core0.corex import fill
from core0.facts.space import Gauge, Space
from core0.jobs.process import Processes
from core0.jobs.results import ResultBuffers
from core0.jobs.tagged import TaggedTrees
from core0.reaper import Reaper
from core0.spawn import Surroundings
from core0.threads import in_pool
from tests.fakes import MemoryRecords, MemoryTree


class Scarce:
    """
    Makes threads, of which only some can be started.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, *arguments: Any, **named: Any) -> Thread:
        """
        As the class itself.
        """
        thread = Thread(*arguments, **named)
        if self.count <= 0:
            thread.start = self.refuse  # type: ignore[method-assign]
        self.count -= 1
        return thread

    def refuse(self) -> None:
        """
        As the kernel does.
        """
        raise RuntimeError("can't start new thread")


class ThreadTests(SynchronousTestCase):
    """
    Pools and what is done without them.
    """

    def pool(self, threads: int) -> ThreadPool:
        """
        A pool that gets so many threads at most.
        """
        pool = ThreadPool(0, 5)
        pool.threadFactory = Scarce(threads)  # type: ignore[assignment] # it is called like the class
        pool.start()
        self.addCleanup(pool.stop)
        return pool

    def ran(self, pool: ThreadPool, times: int) -> None:
        """
        It does what it is given.
        """
        for _ in range(times):
            done = Event()
            pool.callInThread(done.set)
            self.assertTrue(done.wait(10))

    def test_filled(self) -> None:
        """
        A pool that is filled has all of its threads before the first work, and never starts another.
        """
        pool = self.pool(2)
        fill(pool, 2)
        self.assertEqual(2, len(pool.threads))
        self.ran(pool, 10)

    def test_scarce(self) -> None:
        """
        A pool that gets fewer threads than it should have does with those, and can be stopped.
        """
        pool = self.pool(1)
        fill(pool, 3)
        self.assertEqual(1, len(pool.threads))
        self.ran(pool, 10)

    def test_signalled_without(self) -> None:
        """
        Where there is no thread at all, the processes of a job are signalled all the same.
        """
        pool, tree = self.pool(0), MemoryTree()
        processes = Processes(
            reactor,  # type: ignore[arg-type] # it is more than mypy knows
            Reaper(reactor),  # type: ignore[arg-type]
            Surroundings((1024, 1024)),
            TaggedTrees(1),
            MemoryRecords(),
            partial(in_pool, reactor, pool),
            kill_grace=1.0,
            results=ResultBuffers(1, 1),
            buffer=1024,
            env={},
        )
        self.successResultOf(Deferred.fromCoroutine(processes.signal(tree, 9)))
        self.assertEqual([9], tree.signals)

    def test_unasked(self) -> None:
        """
        A file system that no thread is there for to ask does not answer; it does once there is one.
        """
        gauge = Gauge(lambda path: Space(total=1))
        refusing = self.patch(Thread, "start", lambda thread: Scarce(0).refuse())
        self.assertEqual([None], gauge.measure([b"/"]))
        refusing.restore()
        self.assertEqual([Space(total=1)], gauge.measure([b"/"]))
