"""
A program that serves a bridge or a container for as long as that exists: no job, so nobody can kill it by command;
started again whenever it ends; left running by a core0 that ends, and found by the next one.
"""

import os
import re
import shutil
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import TimeoutError
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0 import procfs
from core0.errors import Core0Error
from core0.jobs.process import PATH
from core0.reaper import Reaper
from core0.redis.task import Task
from core0.spawn import Child, Launch, Surroundings
from core0.threads import in_pool
from core0.waiting import Occurrence, pause, within

START = 10.0  # seconds until it serves
STOP = 3.0  # seconds until it has ended, before it is killed
FIRST_LOOK, LAST_LOOK = 0.005, 0.1  # seconds between looks whether it serves, or has ended
LOOK = 1.0  # seconds between looks whether it is still there
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0  # seconds before it is started again
HEALTHY = 60.0  # seconds after which that begins anew
SOON = 20.0  # seconds: what fails within that has probably found something in its way
SAID = 2048  # bytes of its last words
OWN_NETWORK = "/proc/self/ns/net"


class NotServed(Core0Error):
    """
    A bridge or a container is not served; the text says why.
    """


def find(program: str, source: str, path: str = PATH) -> str:
    """
    The path of a program.

    :param source: what has it, such as ``the package nftables``.
    :raises NotServed: it is not installed.
    """
    found = shutil.which(program, path=path)
    if found is None:
        raise NotServed(f"there is no {program}; install {source}")
    return found


class _Protocol(ProcessProtocol):
    """
    Keeps its last words, and the exit status; that is None while it runs, and if a signal has ended it.
    """

    def __init__(self) -> None:
        self.said = b""
        self.code: int | None = None
        self.ended: Occurrence[str] = Occurrence()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self.said = (self.said + data)[-SAID:]

    def processExited(self, reason: Failure) -> None:
        """
        Twisted's hook.
        """
        self.code = getattr(reason.value, "exitCode", None)
        self.ended.happen(reason.getErrorMessage())


async def _nothing(soon: bool) -> None:
    pass


class Helper:
    """
    :param pid_file: in which it writes its pid, once it serves; in a folder of its own, which its command line names.
    :param around: words before its own, of programs that become it by ``exec``: ``nsenter``, ``unshare``.
    :param network: the network namespace that it is in.
    :param prepare: called before each start, with whether the last one has failed soon after its own.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        reaper: Reaper,
        surroundings: Surroundings,
        pid_file: str,
        *,
        around: Sequence[str] = (),
        network: str = OWN_NETWORK,
        prepare: Callable[[bool], Awaitable[None]] = _nothing,
    ) -> None:
        self._reactor = reactor
        self._reaper = reaper
        self._surroundings = surroundings
        self._pid_file = pid_file
        self._around = list(around)
        self._network = network
        self._prepare = prepare
        self._soon = False
        self._protocol = _Protocol()
        self._process: tuple[int, int] | None = None  # pid and start time
        self._task = Task("a program that serves a bridge or a container is not watched any more")
        self.argv: list[str] = []

    @property
    def pid(self) -> int | None:
        """
        None while there is none.
        """
        return self._process[0] if self._process is not None and _lives(self._process) else None

    @property
    def last_words(self) -> str:
        """
        The end of what it has said on stderr, or the last one before it; empty if it was started by another core0.
        """
        return " ".join(self._protocol.said.decode("utf-8", "replace").split())

    async def start(self, argv: Sequence[str]) -> None:
        """
        Have it run, the one that a core0 before this one has left if it was told the same.

        :param argv: the first one is the path of the program.
        :raises NotServed: it does not; it is tried again and again, unless it is stopped.
        """
        self.argv = list(argv)
        try:
            self._process = await self._found()
        except NotServed:
            self._task.start(self._watch())
            raise
        self._task.start(self._watch())

    async def stop(self) -> None:
        """
        End it.
        """
        self.leave()
        process, self._process = self._process, None
        await self._end(process)

    async def end_left(self) -> None:
        """
        End one that nobody looks after: a core0 before this one has left it.
        """
        found = await self._running()
        await self._end(found.process if found is not None else None)

    def leave(self) -> None:
        """
        Look after it no more.
        """
        self._task.stop()

    def nudge(self) -> None:
        """
        Have it read its files anew (``HUP``).
        """
        if self._process is not None:
            _signal(self._process, signal.SIGHUP)

    async def _end(self, process: tuple[int, int] | None) -> None:
        for number, patience in ((signal.SIGTERM, STOP), (signal.SIGKILL, STOP)):
            if process is None or not _signal(process, number):
                return
            deadline, step = self._reactor.seconds() + patience, FIRST_LOOK
            while _lives(process) and self._reactor.seconds() < deadline:
                await pause(self._reactor, step)
                step = min(step * 1.5, LAST_LOOK)

    async def _found(self) -> tuple[int, int]:
        return await self._left() or await self._launch()

    async def _left(self) -> tuple[int, int] | None:
        """
        The one that runs already. One that was told something else, or is in another network, is ended.
        """
        found = await self._running()
        if found is None:
            return None
        pid = found.process[0]
        if found.told == [os.fsencode(word) for word in self.argv] and _same(f"/proc/{pid}/ns/net", self._network):
            self._log.info("{program} runs already, pid {pid}", program=self.argv[0], pid=pid)
            return found.process
        await self._end(found.process)
        return None

    async def _running(self) -> "_Found | None":
        """
        In a thread: the command line of a process is in its own memory, which may take its time.
        """
        program = self.argv[0] if self.argv else ""
        pool = self._reactor.getThreadPool()
        found: _Found | None = await in_pool(self._reactor, pool, _find, self._pid_file, program)
        return found

    async def _launch(self) -> tuple[int, int]:
        argv = [*self._around, *self.argv]
        launch = Launch(argv[0], argv, {"PATH": PATH, "LANG": "C"}, "/")
        await self._prepare(self._soon)
        protocol = self._protocol = _Protocol()
        try:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise NotServed(f"cannot start {argv[0]}: {error.strerror}") from error
        try:
            pipes: dict[int, int | str] = {0: null, 1: null, 2: "r"}
            child = Child(self._reactor, self._reaper, self._surroundings, protocol, launch, pipes)
        except OSError as error:
            raise NotServed(f"cannot start {argv[0]}: {error.strerror}") from error
        finally:
            os.close(null)
        process = (child.pid or 0, procfs.started(child.pid) if child.pid else 0)
        try:
            await within(self._reactor, START, self._serves(protocol, process[0]))
        except BaseException as error:
            _signal(process, signal.SIGKILL)
            if isinstance(error, TimeoutError):
                raise NotServed(f"{self.argv[0]} does not serve within {START:.0f} s") from error
            raise
        return process

    async def _serves(self, protocol: _Protocol, pid: int) -> None:
        """
        Until it says so by the file with its pid, which it writes when it has all that it needs.
        """
        step = FIRST_LOOK
        # 0: it has ended already, before anybody could be told its pid
        while not pid or _recorded(self._pid_file) != pid:
            if protocol.ended.happened:
                # its last words may still be in the pipe
                await pause(self._reactor, FIRST_LOOK)
                said = protocol.said.decode("utf-8", "replace").strip() or protocol.ended.value
                raise NotServed(f"{self.argv[0]} has ended: {said}")
            await pause(self._reactor, step)
            step = min(step * 1.5, LAST_LOOK)

    async def _watch(self) -> None:
        """
        Start it again whenever it ends.
        """
        wait = FIRST_WAIT
        while True:
            since = self._reactor.seconds()
            while self._process is not None and _lives(self._process):
                await pause(self._reactor, LOOK)
            wait = FIRST_WAIT if self._reactor.seconds() - since > HEALTHY else wait
            self._soon = self._reactor.seconds() - since < SOON and bool(self._protocol.code)
            self._process = None
            said = self.last_words
            text = "{program} has exited{said}; restarting in {wait} s"
            self._log.error(text, program=self.argv[0], said=f": {said}" if said else "", wait=wait)
            await pause(self._reactor, wait)
            wait = min(wait * 2, LONGEST_WAIT)
            try:
                self._process = await self._found()
            except NotServed as error:
                self._log.error("{error}", error=error)


@dataclass(frozen=True, slots=True)
class _Found:
    process: tuple[int, int]
    told: list[bytes]  # its command line


def _find(pid_file: str, program: str) -> _Found | None:
    """
    The program that serves a folder: as its file with the pid says, else, that may be gone, as its command line does.
    It has to see the same folder at that path: there may be others with such a path, in other roots.

    :param program: which it is; empty if that is not known.
    """
    folder = os.path.dirname(pid_file)
    # not that of a folder whose name only begins like this one's
    ours = re.compile(rb".*" + re.escape(os.fsencode(folder)) + rb"(/.*)?", re.DOTALL)
    exactly, name = os.fsencode(f"--pid-file={pid_file}"), os.fsencode(os.path.basename(program))
    recorded = _recorded(pid_file)
    for pid in [*([recorded] if recorded else []), *procfs.processes()]:
        started, told = procfs.started(pid), _told(pid)
        if not started or not told or not any(map(ours.fullmatch, told)):
            continue
        # somebody may look at such a file with a program of his own
        if (pid == recorded or exactly in told or os.path.basename(told[0]) == name) and sees(pid, folder):
            return _Found((pid, started), told)
    return None


def _recorded(pid_file: str) -> int:
    text = procfs.read(pid_file).strip()
    return int(text) if text.isdigit() and len(text) < 10 else 0


def sees(pid: int, folder: str) -> bool:
    """
    Whether a process has the same folder at a path as this one: else it is one of another root.
    """
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/root{folder}"), os.stat(folder))
    except OSError:
        return False


def _told(pid: int) -> list[bytes]:
    return procfs.read(f"/proc/{pid}/cmdline").split(b"\0")[:-1]


def _lives(process: tuple[int, int]) -> bool:
    pid, started = process
    return bool(started) and procfs.started(pid) == started


def _signal(process: tuple[int, int], number: int) -> bool:
    """
    Whether it is still there to hear it.
    """
    try:
        fd = os.pidfd_open(process[0])
    except (OSError, ValueError):
        return False
    try:
        if not _lives(process):
            return False
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def _same(path: str, other: str) -> bool:
    try:
        return os.readlink(path) == os.readlink(other)
    except OSError:
        return False
