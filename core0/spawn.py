"""
Starting programs: a Twisted process transport at the speed of ``posix_spawn``.

Twisted's own forks the whole interpreter as soon as a working directory is given, closes descriptors one by one
otherwise, and never makes a session.
"""

import ctypes
import errno
import fcntl
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IProcessProtocol
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.process import (
    Process,
    ProcessReader,
    ProcessWriter,
    unregisterReapProcessHandler,
)
from twisted.python.failure import Failure

from core0 import procfs
from core0.reaper import Reaper

READ_SIZE = 1 << 16  # bytes: what a pipe holds
MAX_PIPE = 1 << 20  # bytes: what it can be made to hold
UMASK = 0o022
PR_SET_CHILD_SUBREAPER = 36
LOW_FILES = 64  # descriptors that other threads may take while the limit is that of a program
SCORE_TRIES, SCORE_PAUSE = 100, 0.0002  # times; seconds
_UNSETTABLE = {signal.SIGKILL, signal.SIGSTOP}
_DEFAULTED = [number for number in signal.valid_signals() if number not in _UNSETTABLE]

Start = Callable[[], int]


class NotExecuted(OSError):
    """
    The kernel does not execute the program. Whatever else keeps a program from starting is no fault of it.
    """


class NoDirectory(OSError):
    """
    A program cannot start in its working directory.
    """


@dataclass(frozen=True, slots=True)
class Launch:
    """
    What to start: ``path`` is the file, ``argv[0]`` the name that it sees, ``cwd`` empty for the root directory.
    """

    path: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What core0 changed of itself and its children shall not see: the limit on open files before it was raised; what
    ``/proc/<pid>/oom_score_adj`` is for them, None for the same as for this process. It cannot be less than that.
    """

    files: tuple[int, int]
    oom_score: int | None = None

    @classmethod
    def prepare(cls, oom_score: int | None = None) -> "Surroundings":
        """
        Make this process fit to have children. Call it once, at start, in the main thread.

        Raises the soft limit of open files to the hard one; opens whatever of the descriptors 0 to 2 is closed; makes
        sure that no inherited descriptor reaches a child; unblocks all signals; has orphans of children given to this
        process instead of to the machine's first one.
        """
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDWR)
        while null <= 2:
            null = os.dup(null)
        os.close(null)
        for name in os.listdir("/proc/self/fd"):
            number = int(name)
            if number > 2:
                try:
                    os.set_inheritable(number, False)
                except OSError:
                    pass  # the one that listed the directory
        return cls(files=(soft, hard), oom_score=oom_score)


def _high(fd: int, limit: int) -> int:
    """
    Move a descriptor beyond the limit of programs: below it there is room for other threads then, see ``_create``. One
    in the lower half may stay: it takes some time to move it, and the other half is room enough.
    """
    if fd < limit // 2:
        return fd
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, limit)
    except OSError:
        return fd  # core0's own limit is no higher
    os.close(fd)
    return moved


class _Reader(ProcessReader):
    """
    Reads a pipe in pieces of its own size: Twisted's takes eight times as many turns.
    """

    def __init__(self, reactor: Any, proc: "Child", name: int, fileno: int) -> None:
        super().__init__(reactor, proc, name, _high(fileno, proc.limit))

    def doRead(self) -> Any:
        """
        Twisted's hook.
        """
        try:
            data = os.read(self.fd, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return super().doRead()
        self.dataReceived(data)
        return None

    def drain(self) -> None:
        """
        Take what there is, at most what one pipe can hold.
        """
        for _ in range(MAX_PIPE // READ_SIZE):
            try:
                data = os.read(self.fd, READ_SIZE)
            except OSError:
                return
            if not data:
                return
            self.dataReceived(data)


class _Writer(ProcessWriter):
    """
    Writes to a pipe.
    """

    def __init__(self, reactor: Any, proc: "Child", name: int, fileno: int, forceReadHack: bool = False) -> None:
        super().__init__(reactor, proc, name, _high(fileno, proc.limit), forceReadHack)


class Child(Process):
    """
    A program in a session of its own: signals at their defaults, none blocked, no descriptors but those of ``pipes``.

    Two steps of Twisted's class are replaced: how the process is created and how it is reaped.

    :param pipes: as ``childFDs`` of ``spawnProcess``.
    :param around: called with the step that creates the process; it may prepare for it and clean up after it.
    :ivar limit: on its open files.
    :ivar used: what it, and those of its children that it has waited for, have used; None until it has ended.
    :raises NotExecuted: it is not to be executed.
    :raises NoDirectory: nor is anything in that working directory; ``EXDEV`` if that is outside the root directory of
        this process.
    :raises OSError: what it takes to start a program, whichever, cannot be had.
    """

    processReaderFactory = _Reader
    processWriterFactory = _Writer

    def __init__(
        self,
        reactor: Any,
        reaper: Reaper,
        surroundings: Surroundings,
        protocol: IProcessProtocol,
        launch: Launch,
        pipes: Mapping[int, int | str],
        around: Callable[[Start], int] = lambda start: start(),
    ) -> None:
        self._reaper = reaper
        self._surroundings = surroundings
        self._launch = launch
        self._around = around
        self.limit = surroundings.files[0]
        self.used: resource.struct_rusage | None = None
        super().__init__(reactor, launch.path, launch.argv, launch.env, launch.cwd, protocol, childFDs=pipes)
        if self.pid is not None:
            unregisterReapProcessHandler(self.pid, self)
            self._reaper.watch(self.pid, self._reaped)

    def _trySpawnInsteadOfFork(
        self, path: Any, uid: Any, gid: Any, executable: Any, args: Any, environment: Any, kwargs: dict[str, Any]
    ) -> bool:
        """
        Twisted's hook: create the process; True says that it was done.
        """
        actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in sorted(kwargs["fdmap"].items())]
        self.pid = self._around(lambda: self._create(actions))
        self.status = -1
        return True

    def _create(self, actions: list[tuple[int, int, int]]) -> int:
        launch, files = self._launch, self._surroundings.files
        here = os.open(".", os.O_PATH | os.O_DIRECTORY)
        umask = os.umask(UMASK)
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)
        # the limit is one for all threads: where the next that they open would be beyond it, it is not touched
        lowered = files != raised and here + LOW_FILES <= files[0]
        try:
            _enter(launch.cwd or "/")
            if lowered:
                resource.setrlimit(resource.RLIMIT_NOFILE, files)
            pid = _execute(launch, actions)
        finally:
            if lowered:
                resource.setrlimit(resource.RLIMIT_NOFILE, raised)
            os.umask(umask)
            os.fchdir(here)
            os.close(here)
        if files != raised and not lowered:
            _each(pid, lambda each: _limit(each, files))
        if self._surroundings.oom_score is not None:
            _expose(pid, self._surroundings.oom_score)
        return pid

    def _reaped(self, status: int, used: resource.struct_rusage) -> None:
        self.used = used
        self.processEnded(status)

    def reapProcess(self) -> None:
        """
        Twisted's hook: look whether it has ended, now that its pipes are closed.
        """
        if self.pid is None:
            return
        try:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            self._reaper.forget(pid)
            self._reaped(status, used)

    def drain(self) -> None:
        """
        Take what its pipes still hold, then close them: for the time when nobody who could write to them is left.
        """
        for pipe in list(self.pipes.values()):
            if isinstance(pipe, _Reader):
                pipe.drain()
            # not loseConnection: that waits for what it has buffered to be read
            pipe.connectionLost(Failure(CONNECTION_DONE))


def _execute(launch: Launch, actions: list[tuple[int, int, int]]) -> int:
    try:
        return os.posix_spawn(
            launch.path,
            list(launch.argv),
            launch.env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTED,
        )
    except OSError as error:
        raise NotExecuted(error.errno, error.strerror, launch.path) from error


def _expose(pid: int, oom_score: int) -> None:
    """
    Give a program, and what it may have started by now, the score that is not this process's own.

    :raises OSError: it cannot be given; the program is ended.
    """
    try:
        _each(pid, lambda each: _score(each, oom_score))
    except OSError as error:
        os.killpg(pid, signal.SIGKILL)
        raise OSError(errno.EAGAIN, f"its oom_score_adj cannot be set: {error.strerror}") from error


def _each(pid: int, act: Callable[[int], None]) -> None:
    """
    Do something to a program that has just been started, then to what it may have started by now.
    """
    left = [pid]
    while left:
        act(left[-1])
        left += procfs.children(left.pop())


def _limit(pid: int, files: tuple[int, int]) -> None:
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, files)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or become another user's


def _score(pid: int, oom_score: int) -> None:
    for tries in range(SCORE_TRIES, 0, -1):
        try:
            procfs.write(f"/proc/{pid}/oom_score_adj", str(oom_score).encode())
            return
        except (FileNotFoundError, ProcessLookupError):
            return  # it has ended
        except PermissionError:
            if not procfs.alive(pid):
                return
            # for a moment of its start it is as little dumpable as the CoreX that starts it
            if tries == 1:
                raise
            time.sleep(SCORE_PAUSE)


def _enter(folder: str) -> None:
    """
    Make a directory the working directory of this process, for what it starts.

    :raises NoDirectory: it cannot be, or is outside of the root directory.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise NoDirectory(error.errno, error.strerror, folder) from error
    if folder == "/":
        return
    # /proc/self/fd/N leads to wherever this process has something open: that of a CoreX is a folder of the host. What
    # stands above it decides, never its name: in a container that may lead anywhere.
    try:
        below = os.getcwd().startswith("/")
    except OSError:
        below = False
    if not below:
        raise NoDirectory(errno.EXDEV, "the directory has no path below the root directory", folder)
