"""
What may block, in threads, and pools that hold up nothing.
"""

import errno
import re
from pathlib import Path
from threading import Event, Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase

from core0.errors import NoThread
from core0.threads import STOP_TIMEOUT, DaemonPool, in_pool, use_daemon_pool
from tests.daemon import ROOT, eventually
from tests.fakes import ThreadlessReactor
from tests.faults import STORAGE, Fault, no_thread


class CallTests(SynchronousTestCase):
    """
    Calls in a thread.
    """

    def setUp(self) -> None:
        """
        A reactor, and work that fails as often as a test says.
        """
        self.reactor = ThreadlessReactor()

    def test_once(self) -> None:
        """
        Whatever the work raises, it is called once: half of it may be done.
        """
        for error in (*STORAGE, FileNotFoundError(errno.ENOENT, "none"), RuntimeError("broken")):
            calls: list[str] = []

            def work(calls: list[str] = calls, error: Exception = error) -> None:
                calls.append("called")
                raise error

            self.failureResultOf(in_pool(self.reactor, self.reactor, work), type(error))  # type: ignore[arg-type]
            self.reactor.advance(60)
            self.assertEqual(["called"], calls, error)

    def test_no_thread(self) -> None:
        """
        Where no thread can be had, what needs one is refused as something that is missing, 503, and the pool goes on as
        soon as there is one.
        """
        pool = DaemonPool(0, 1)
        pool.start()
        self.addCleanup(pool.stop)
        fault = Fault(self, Thread, "start", no_thread(), times=2)
        for _ in range(2):
            refused = self.failureResultOf(in_pool(self.reactor, pool, int), NoThread).value
            self.assertEqual(503, refused.code)
        done = Event()
        pool.callInThread(done.set)
        self.assertTrue(done.wait(60))
        self.assertEqual((3, 1), (fault.calls, len(pool.threads)))

    def test_stopped(self) -> None:
        """
        A pool that was stopped refuses at once: nothing waits for ever for what it will not do.
        """
        pool = DaemonPool(0, 1)
        pool.start()
        pool.stop()
        self.failureResultOf(in_pool(self.reactor, pool, int), NoThread)


class StopTests(SynchronousTestCase):
    """
    The end of a pool.
    """

    def setUp(self) -> None:
        """
        A pool with one thread, whose work goes on as long as a test wants.
        """
        self.clock = Clock()
        self.go, self.began = Event(), Event()
        self.addCleanup(self.go.set)
        self.pool = DaemonPool(0, 1, name="tested")
        self.pool.start()

    def work(self) -> None:
        """
        Begin, and wait.
        """
        self.began.set()
        self.go.wait(60)

    def finish(self) -> "Deferred[None]":
        """
        Begin to finish, while there is work.
        """
        self.pool.callInThread(self.work)
        self.assertTrue(self.began.wait(60))
        return Deferred.fromCoroutine(self.pool.finish(self.clock))

    def test_waits(self) -> None:
        """
        What a thread is at is waited for without holding up the reactor.
        """
        finishing = self.finish()
        self.clock.advance(STOP_TIMEOUT / 2)
        self.assertNoResult(finishing)
        self.go.set()
        eventually(lambda: not any(thread.is_alive() for thread in self.pool.threads), "it ends")
        self.clock.advance(1)
        self.successResultOf(finishing)

    def test_hangs(self) -> None:
        """
        What hangs is left behind after some seconds, and does not keep the process from ending.
        """
        finishing = self.finish()
        self.clock.advance(STOP_TIMEOUT)
        self.successResultOf(finishing)
        self.assertTrue(all(thread.daemon for thread in self.pool.threads))

    def test_twice(self) -> None:
        """
        To stop it again, as the reactor does at its end, is no mistake.
        """
        self.successResultOf(Deferred.fromCoroutine(self.pool.finish(self.clock)))
        self.successResultOf(Deferred.fromCoroutine(self.pool.finish(self.clock)))
        self.pool.stop()


class ReactorTests(SynchronousTestCase):
    """
    The pool of a reactor.
    """

    def test_no_other(self) -> None:
        """
        No part of core0 has a pool of Twisted's, whose end is waited for in the reactor.
        """
        made = re.compile(r"\bThreadPool\(|deferToThread\b")
        found = [path for path in Path(ROOT, "core0").rglob("*.py") if made.search(path.read_text())]
        self.assertEqual([], [path.name for path in found])

    def test_replaced(self) -> None:
        """
        A reactor that is told gets a pool that it does not wait for, once.
        """

        class Reactor:
            def __init__(self) -> None:
                self.threadpool: ThreadPool = ThreadPool(0, 1)

            def getThreadPool(self) -> ThreadPool:
                return self.threadpool

            def callWhenRunning(self, work: Any) -> None:
                work()

        reactor = Reactor()
        use_daemon_pool(reactor)
        pool = reactor.threadpool
        self.assertTrue(isinstance(pool, DaemonPool) and pool.started)
        use_daemon_pool(reactor)
        self.assertIs(pool, reactor.threadpool)
        pool.stop()
