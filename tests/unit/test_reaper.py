"""
Children are reaped, each once, whosever they are.
"""

import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet import process
from twisted.trial.unittest import SynchronousTestCase

from core0 import reaper as reaper_module
from core0.reaper import Reaper


class Reactor:
    """
    Keeps what is to be called in its thread.
    """

    def __init__(self) -> None:
        self.calls: list[Callable[..., Any]] = []

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        """
        As a reactor's.
        """
        self.calls.append(call)


class TwistedProcess:
    """
    What Twisted keeps of a process of its own.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.statuses: list[int] = []

    def reapProcess(self) -> None:
        """
        As Twisted's.
        """
        self.statuses.append(os.waitpid(self.pid, os.WNOHANG)[1])


class Negligent:
    """
    Something of Twisted's that does not reap.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self._error = error

    def reapProcess(self) -> None:
        """
        Does nothing of what it should.
        """
        self.asked += 1
        if self._error is not None:
            raise self._error


class ReaperTests(SynchronousTestCase):
    """
    A reaper without a reactor.
    """

    def setUp(self) -> None:
        """
        Nobody has ended yet.
        """
        self.reactor = Reactor()
        self.reaper = Reaper(self.reactor)  # type: ignore[arg-type] # all that it needs
        self.ended: list[tuple[int, int]] = []

    def child(self, code: int = 0) -> int:
        """
        A child that has ended, and is still there.
        """
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"exit {code}"], {})
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    def watch(self, pid: int) -> int:
        """
        Watch a child.
        """
        self.reaper.watch(pid, partial(self._ended, pid))
        return pid

    def _ended(self, pid: int, status: int, used: resource.struct_rusage) -> None:
        self.assertGreater(used.ru_maxrss, 0)
        self.ended.append((pid, os.waitstatus_to_exitcode(status)))

    def assert_gone(self, *pids: int) -> None:
        """
        These were reaped.
        """
        for pid in pids:
            self.assertRaises(ChildProcessError, os.waitpid, pid, os.WNOHANG)

    def test_watched(self) -> None:
        """
        Whoever watches a child is told how it ended, once.
        """
        pid = self.watch(self.child(3))
        self.reaper.reap()
        self.reaper.reap()
        self.assertEqual([(pid, 3)], self.ended)
        self.assert_gone(pid)

    def test_signalled(self) -> None:
        """
        A child that was killed is told apart.
        """
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "kill -9 $$"], {})
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self.watch(pid)
        self.reaper.reap()
        self.assertEqual([(pid, -9)], self.ended)

    def test_orphan(self) -> None:
        """
        A child that nobody watches is reaped without a word.
        """
        pid = self.child()
        self.reaper.reap()
        self.assert_gone(pid)

    def test_forgotten(self) -> None:
        """
        Nobody is told of a child that is not watched any more.
        """
        pid = self.watch(self.child())
        self.reaper.forget(pid)
        self.reaper.reap()
        self.assertEqual([], self.ended)
        self.assert_gone(pid)

    def test_running(self) -> None:
        """
        A child that still runs is left alone.
        """
        reader, writer = os.pipe()
        pid = self.watch(os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)]))
        os.close(reader)
        self.reaper.reap()
        self.assertEqual([], self.ended)
        os.close(writer)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self.reaper.reap()
        self.assertEqual([(pid, 0)], self.ended)

    def test_of_twisted(self) -> None:
        """
        A child that Twisted started is left to Twisted, its exit status with it.
        """
        pid = self.child(5)
        child = TwistedProcess(pid)
        process.reapProcessHandlers[pid] = child  # type: ignore[assignment] # as much as is needed
        self.addCleanup(process.reapProcessHandlers.pop, pid)
        self.reaper.reap()
        self.assertEqual([5], [os.waitstatus_to_exitcode(status) for status in child.statuses])
        self.assert_gone(pid)

    def test_not_reaped(self) -> None:
        """
        A child that the one who started it does not reap is reaped all the same, and logged; nothing goes round and
        round, and the others are not kept waiting.
        """
        pid, other = self.child(), self.watch(self.child(3))
        for broken in (Negligent(), Negligent(RuntimeError("no"))):
            process.reapProcessHandlers[pid] = broken  # type: ignore[assignment] # as much as is needed
            self.reaper.reap()
            self.assertNotIn(pid, process.reapProcessHandlers)
            self.assert_gone(pid, other)
            self.assertEqual(([], 1), (self.reactor.calls, broken.asked))
            pid = self.child()
        self.assertEqual([(other, 3)], self.ended)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.reaper.reap()

    def test_many(self) -> None:
        """
        Many that end together take several turns, so that others come to theirs.
        """
        self.patch(reaper_module, "AT_ONCE", 2)
        pids = [self.watch(self.child(number)) for number in range(5)]
        turns = 0
        self.reaper.reap()
        while self.reactor.calls:
            turns += 1
            self.reactor.calls.pop()()
        self.assertEqual(2, turns)
        self.assertEqual(set(zip(pids, range(5), strict=True)), set(self.ended))

    def test_broken(self) -> None:
        """
        Somebody who cannot bear the news does not keep it from others.
        """

        def broken(status: int, used: object) -> None:
            raise RuntimeError("no")

        first, second = self.child(), self.watch(self.child())
        self.reaper.watch(first, broken)
        self.reaper.reap()
        self.assertEqual([(second, 0)], self.ended)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assert_gone(first)

    def test_signal(self) -> None:
        """
        The signal that a child has ended asks for a turn, however often it comes; the next one asks again.
        """
        before = signal.getsignal(signal.SIGCHLD)
        self.addCleanup(signal.signal, signal.SIGCHLD, before)
        self.reaper.install()
        self.assertEqual([self.reaper.reap], self.reactor.calls)
        pid = self.watch(self.child(1))
        os.kill(os.getpid(), signal.SIGCHLD)
        self.assertEqual(1, len(self.reactor.calls))
        self.reactor.calls.pop()()
        self.assertEqual([(pid, 1)], self.ended)
        os.kill(os.getpid(), signal.SIGCHLD)
        self.assertEqual(1, len(self.reactor.calls))

    def test_nobody(self) -> None:
        """
        Without children there is nothing to do.
        """
        self.reaper.reap()
        self.assertEqual(([], []), (self.ended, self.reactor.calls))
