"""
Watching processes that are not core0's children, or were not born as such.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from core0 import procfs
from core0.waiting import Occurrence


@implementer(IReadDescriptor)
class Watched:
    """
    A living process, by a descriptor that cannot come to mean another one.

    :ivar ended: happens when it has ended.
    :ivar on_ended: called then.
    """

    def __init__(self, reactor: Any, pid: int, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self.pid = pid
        self.ended: Occurrence[None] = Occurrence()
        self.on_ended: Callable[[], None] = lambda: None
        reactor.addReader(self)

    @classmethod
    def find(cls, reactor: Any, pid: int, start: int = 0) -> "Watched | None":
        """
        :param start: what :func:`core0.procfs.started` said of it; 0: whoever has that pid.
        :returns: None if it has ended.
        """
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if start and procfs.started(pid) != start:
            os.close(fd)
            return None
        return cls(reactor, pid, fd)

    def fileno(self) -> int:
        """
        Twisted's hook.
        """
        return self._fd

    def logPrefix(self) -> str:
        """
        Twisted's hook.
        """
        return f"process {self.pid}"

    def doRead(self) -> None:
        """
        Twisted's hook: it has ended.
        """
        self.close()
        self.ended.happen(None)
        self.on_ended()

    def connectionLost(self, reason: Failure) -> None:
        """
        Twisted's hook.
        """
        self.close()

    def signal(self, number: int) -> None:
        """
        Send a signal, if it still lives.
        """
        if self._fd >= 0:
            try:
                signal.pidfd_send_signal(self._fd, number)
            except (ProcessLookupError, PermissionError):
                pass

    def close(self) -> None:
        """
        Watch it no more.
        """
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1
