"""
Reaping children: each one once, those that core0 inherited as a sub-reaper included.
"""

import os
import resource
import signal
from collections.abc import Callable
from types import FrameType

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.process import reapProcessHandlers
from twisted.logger import Logger
from twisted.python.failure import Failure

AT_ONCE = 500  # children a turn, so that a storm of exits leaves the reactor room

Ended = Callable[[int, resource.struct_rusage], None]


class Reaper:
    """
    Twisted calls ``waitpid`` for each of its children whenever one of them ends, and never for orphans. This one asks
    the kernel which child has ended and leaves it there (``WNOWAIT``) until it knows whose it is: the cost does not
    grow with the number of children, and nobody's exit status is taken away.

    Nothing else in the process may wait for children of its own behind its back; ``subprocess`` is not used.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._watched: dict[int, Ended] = {}
        self._scheduled = False

    def install(self) -> None:
        """
        Take over SIGCHLD; call it in the main thread with the reactor running. Twisted's own waker keeps working.
        """
        signal.signal(signal.SIGCHLD, self._signalled)
        signal.siginterrupt(signal.SIGCHLD, False)
        self._signalled(0, None)

    def watch(self, pid: int, ended: Ended) -> None:
        """
        Call ``ended`` with the wait status once the child is reaped, and with what it has used.
        """
        self._watched[pid] = ended

    def forget(self, pid: int) -> None:
        """
        The child was reaped by somebody else.
        """
        self._watched.pop(pid, None)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        # a signal handler: it runs between any two bytecodes, so it only asks for a turn
        if not self._scheduled:
            self._scheduled = True
            self._reactor.callFromThread(self.reap)

    def reap(self) -> None:
        """
        Reap the children that have ended.
        """
        self._scheduled = False
        last = 0
        for _ in range(AT_ONCE):
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid == last and reapProcessHandlers.pop(last, None) is not None:
                # else it would be the first one for ever, and this the only thing that core0 does
                self._log.error("process {pid} has ended and was not reaped by the one that started it", pid=last)
            last = ended.si_pid
            self._reap_one(last)
        self._signalled(0, None)

    def _reap_one(self, pid: int) -> None:
        twisted_child = reapProcessHandlers.get(pid)
        if twisted_child is not None:
            with self._log.failuresHandled("cannot reap process {pid}", pid=pid):
                twisted_child.reapProcess()
            return
        try:
            _, status, used = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:
            return
        callback = self._watched.pop(pid, None)
        if callback is not None:
            try:
                callback(status, used)
            except Exception:
                self._log.failure("cannot report the end of process {pid}", Failure(), pid=pid)
