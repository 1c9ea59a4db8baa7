"""
One server for one folder: a lock that the server inherits, so that it is held for as long as any server on these files
lives, whatever became of its core0; and the record of which process it is.
"""

import fcntl
import json
import os
import signal
from typing import Any

from twisted.logger import Logger

from core0 import procfs
from core0.errors import ServerFailed
from core0.redis.server_settings import ServerSettings
from core0.threads import in_pool
from core0.waiting import pause

STOP_TIMEOUT = 20.0  # seconds; it writes its file to the end
LINGERING = 1.0  # seconds
LOOK = 0.02  # seconds between looks whether it has ended
INHERITED = 3  # the descriptor of the lock in a server
FIRST_OWN = 10  # the lowest that it has in core0: it is to be told from a server


class FilesLock:
    """
    :ivar fd: of the lock; a server gets it as its descriptor 3.
    """

    _log = Logger()

    def __init__(self, reactor: Any, settings: ServerSettings) -> None:
        self._reactor = reactor
        self._folder = settings.folder
        self._path = os.path.join(settings.folder, "server.lock")
        self._records = [os.path.join(folder, "server.json") for folder in (settings.run_dir, settings.folder)]
        self.fd = -1

    async def take(self) -> None:
        """
        End whatever server is left on these files, then nobody else has them.

        :raises ServerFailed: that cannot be done.
        """
        fd = self._open()
        try:
            # one of a core0 before the lock does not hold it. The other record is no use here: it outlives a reboot,
            # after which process numbers and start times may come again
            recorded = _recorded(self._records[0])
            if recorded is not None and self._is_here(recorded[0], fd):
                await self._end(recorded)
            if not _locked(fd):
                await self._end_holders(fd)
            if not await self._locked_soon(fd):
                raise ServerFailed(f"{self._path} is held by another process; 'fuser {self._path}' says by which")
        except BaseException:
            os.close(fd)
            raise
        self.fd = fd

    def _is_here(self, pid: int, fd: int) -> bool:
        """
        Whether a process is a server of these files, which it has made its working directory, or holds their lock: a
        record may be a copy, or that of another core0 with the same ``run_dir``.
        """
        try:
            if os.path.samestat(os.stat(f"/proc/{pid}/cwd"), os.stat(self._folder)):
                return True
            return os.path.samestat(os.stat(f"/proc/{pid}/fd/{INHERITED}"), os.fstat(fd))
        except OSError:
            return False

    def _open(self) -> int:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ServerFailed(f"cannot open {self._path}: {error.strerror}") from error
        try:
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_OWN)
        finally:
            os.close(fd)

    async def _locked_soon(self, fd: int) -> bool:
        """
        Threads of a server that has ended may hold its files for a moment more.
        """
        deadline = self._reactor.seconds() + LINGERING
        while not (locked := _locked(fd)) and self._reactor.seconds() < deadline:
            await pause(self._reactor, LOOK)
        return locked

    async def _end_holders(self, fd: int) -> None:
        """
        The record has not led to whoever holds the lock: look at all processes, in a thread, there may be thousands.
        """
        found = await in_pool(self._reactor, self._reactor.getThreadPool(), _holders, fd)
        for holder in found:
            await self._end(holder)

    async def _end(self, process: tuple[int, int] | None) -> None:
        if process is None or not is_process(*process):
            return
        pid, started = process
        self._log.info("a server is left from before, process {pid}; ending it", pid=pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(pid, started, number)
            deadline = self._reactor.seconds() + STOP_TIMEOUT
            while self._reactor.seconds() < deadline:
                if not (is_process(pid, started) and procfs.alive(pid)):
                    return
                await pause(self._reactor, LOOK)
        raise ServerFailed(f"cannot end the server that was left from before, process {pid}")

    def record(self, pid: int) -> None:
        """
        Note which process the server is.

        :raises OSError: that cannot be written.
        """
        text = json.dumps({"pid": pid, "started": procfs.started(pid)})
        for path in reversed(self._records):
            write_private(path, text)

    def release(self) -> None:
        """
        Give it up; the server has ended.
        """
        for path in self._records:
            try:
                os.unlink(path)
            except OSError:
                pass  # it was not there, or the next start sees that it is about nobody
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _recorded(path: str) -> tuple[int, int] | None:
    """
    Process and start time.
    """
    try:
        with open(path, encoding="utf-8") as file:
            left = json.load(file)
        return int(left["pid"]), int(left["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holders(fd: int) -> list[tuple[int, int]]:
    """
    The servers that have a file open as their lock: process and start time.
    """
    wanted = os.fstat(fd)
    found = []
    for pid in procfs.processes():
        try:
            held = os.stat(f"/proc/{pid}/fd/{INHERITED}")
        except OSError:
            continue  # it has ended, has no such descriptor, or is somebody else's
        if pid != os.getpid() and (held.st_dev, held.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append((pid, procfs.started(pid)))
    return found


def is_process(pid: int, started: int) -> bool:
    """
    Whether this is still the process that was recorded: pids come again, pids with start times do not.
    """
    return bool(started) and procfs.started(pid) == started


def _signal(pid: int, started: int, number: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if is_process(pid, started):
            signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


def write_private(path: str, text: str) -> None:
    """
    Replace a file, for its owner only.
    """
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
    os.replace(f"{path}.new", path)
