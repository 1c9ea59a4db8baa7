"""
Running a program: start it, feed it, read it, end it and all that came of it.
"""

import errno
import os
import pwd
import shutil
import signal
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from twisted.internet.defer import CancelledError, TimeoutError, ensureDeferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from core0.clock import epoch
from core0.errors import Refusal
from core0.interfaces import (
    ICoreReactor,
    IJob,
    IProcesses,
    IRecords,
    ITree,
    ITrees,
    ThreadRunner,
)
from core0.jobs.output import Output
from core0.messages import Outcome, State
from core0.reaper import Reaper
from core0.spawn import Child, Launch, Start, Surroundings
from core0.waiting import Occurrence, pause, within

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND = 127
NOT_EXECUTABLE = 126
SIGNALLED = 128  # + number: as a shell reports it
FIRST_LOOK, LAST_LOOK = 0.005, 0.1  # seconds between looks whether a tree is empty
UNKILLABLE = 10.0  # seconds after KILL; what is left then hangs in the kernel


@dataclass(frozen=True, slots=True)
class Program:
    """
    What to run: ``name`` is looked up in the PATH of ``env`` unless it holds a slash; ``env`` is added to a minimal
    environment; ``directory`` None for the root directory; ``stdin`` None for none.
    """

    name: str
    args: Sequence[str] = ()
    directory: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None

    @property
    def workdir(self) -> str:
        """
        Where it starts, absolute: core0's own working directory is nobody's business.
        """
        return os.path.join("/", self.directory or "")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """
    The environment of a job: nothing of core0's own.
    """
    return {"PATH": PATH, "LANG": "C.UTF-8", "HOME": _home(), **extra}


@cache
def _home() -> str:
    """
    Of the user that core0 runs as; looked up once, since the look-up may ask a server.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def locate(program: Program, env: Mapping[str, str]) -> str:
    """
    The file to execute. It is found, or not, in the same way with and without a directory.

    :raises Refusal: 400, the directory is none; 127, there is no such program; 126, it is not executable.
    """
    directory = program.workdir
    if not os.path.isdir(directory) or not os.access(directory, os.X_OK):
        raise Refusal(400, f"arguments.dir: expected an existing directory that can be entered, got {directory!r}")
    if "/" in program.name:
        path: str | None = os.path.join(directory, program.name)
        found = os.path.exists(path)  # type: ignore[arg-type]
    else:
        folders = [os.path.join(directory, folder) for folder in env["PATH"].split(":")]
        path = shutil.which(program.name, path=":".join(folders))
        found = path is not None or any(os.path.exists(os.path.join(folder, program.name)) for folder in folders)
    if not found:
        raise Refusal(NOT_FOUND, f"cannot run {program.name!r}: no such program; check arguments.name and PATH")
    if path is None or not os.access(path, os.X_OK) or not stat.S_ISREG(os.stat(path).st_mode):
        raise Refusal(NOT_EXECUTABLE, f"cannot run {program.name!r}: it is not an executable file")
    return path


def _why_not(error: OSError, program: Program) -> Refusal:
    if error.errno == errno.E2BIG:
        return Refusal(400, "arguments: args and env together are longer than the kernel takes; use stdin")
    if error.errno == errno.ENOEXEC:
        text = f"cannot run {program.name!r}: exec format error; a script needs a first line such as #!/bin/sh"
        return Refusal(NOT_EXECUTABLE, text)
    if error.errno == errno.ENOENT:  # it is there, so it is its interpreter that is not
        return Refusal(NOT_FOUND, f"cannot run {program.name!r}: its interpreter or loader does not exist")
    if error.errno in (errno.EACCES, errno.EPERM, errno.ETXTBSY, errno.ELOOP, errno.EINVAL, errno.ELIBBAD):
        return Refusal(NOT_EXECUTABLE, f"cannot run {program.name!r}: {error.strerror}")
    return Refusal(503, f"cannot run {program.name!r} now: {error.strerror}")


@implementer(IProcessProtocol)
class _Protocol(ProcessProtocol):
    """
    Hands what a program prints to its output, and says when it has ended.
    """

    def __init__(self, output: Output, stdin: bytes | None) -> None:
        self._output = output
        self._stdin = stdin
        self.exited: Occurrence[int] = Occurrence()
        self.closed: Occurrence[None] = Occurrence()

    def connectionMade(self) -> None:
        """
        Twisted's hook.
        """
        if self._stdin is not None:
            # buffered by the transport until the program reads it, if ever; its pipe breaks when it ends
            self.transport.write(self._stdin)  # type: ignore[union-attr]
            self.transport.closeStdin()  # type: ignore[union-attr]
            self._stdin = None

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self._output.feed(childFD, data)

    def processExited(self, reason: Failure) -> None:
        """
        Twisted's hook: the program has ended; others may still hold its streams.
        """
        code = 0
        if isinstance(reason.value, ProcessTerminated):
            code = SIGNALLED + reason.value.signal if reason.value.signal else reason.value.exitCode or 0
        self.exited.happen(code)

    def processEnded(self, reason: Failure) -> None:
        """
        Twisted's hook: the streams are closed, too.
        """
        self.closed.happen(None)


@implementer(IProcesses)
class Processes:
    """
    Runs programs.

    :param in_pool: calls a blocking function in a thread of a pool for trees of processes.
    :param kill_grace: seconds from TERM to KILL.
    :param buffer: bytes kept of each stream.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ICoreReactor,
        reaper: Reaper,
        surroundings: Surroundings,
        trees: ITrees,
        records: IRecords,
        in_pool: ThreadRunner,
        *,
        kill_grace: float,
        buffer: int,
    ) -> None:
        self._reactor = reactor
        self._reaper = reaper
        self._surroundings = surroundings
        self._trees = trees
        self._records = records
        self._in_pool = in_pool
        self._kill_grace = kill_grace
        self._buffer = buffer
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    async def run(self, spec: Program, job: IJob) -> Outcome:
        """
        The whole life of one program, to the end of the last process that came of it.
        """
        output = Output(job, self._records, self._buffer, lambda: epoch(self._reactor))
        child, protocol, tree, pid = self._start(spec, output)
        job.attached(tree, pid)
        cut = False
        try:
            await protocol.exited.wait()
        except CancelledError:
            cut = not protocol.exited.happened
        try:
            gone = await self._clear(tree, protocol, cut)
            child.drain()
            output.close()
        finally:
            job.detached()
        if gone:
            tree.close()
        return self._outcome(protocol, output, cut)

    async def signal(self, tree: ITree, number: int) -> None:
        """
        In a thread that none but trees wait for.
        """
        await self._in_pool(tree.signal, number)

    def _start(self, program: Program, output: Output) -> tuple[Child, _Protocol, ITree, int]:
        env = environment(program.env)
        path = locate(program, env)
        protocol = _Protocol(output, None if program.stdin is None else program.stdin.encode())
        started: list[tuple[int, ITree]] = []

        def around(start: Start) -> int:
            started.append(self._trees.spawn(start))
            return started[0][0]

        launch = Launch(path, [program.name, *program.args], env, program.workdir)
        pipes: dict[int, int | str] = {0: self._null if program.stdin is None else "w", 1: "r", 2: "r"}
        try:
            child = Child(self._reactor, self._reaper, self._surroundings, protocol, launch, pipes, around)
        except OSError as error:
            raise _why_not(error, program) from error
        pid, tree = started[0]
        return child, protocol, tree, pid

    async def _clear(self, tree: ITree, protocol: _Protocol, cut: bool) -> bool:
        """
        End what is left: everything if the job was cut, else what the program started and did not wait for.

        A second cancellation cuts the grace short.

        :returns: whether nothing is left.
        """
        if cut or tree.populated():
            try:
                await self._in_thread(tree.signal, signal.SIGTERM)
                if await self._emptied(tree, protocol, self._kill_grace):
                    return True
            except CancelledError:
                pass
            return await self._kill(tree, protocol)
        return True

    async def _kill(self, tree: ITree, protocol: _Protocol) -> bool:
        deadline = self._reactor.seconds() + UNKILLABLE
        while self._reactor.seconds() < deadline:
            try:
                await self._in_thread(tree.kill)
                if await self._emptied(tree, protocol, 1.0):
                    return True
            except CancelledError:
                pass  # nothing is quicker than KILL
        text = "processes cannot be killed, they hang in the kernel and are left: {pids}"
        self._log.error(text, pids=list(tree.pids()))
        return False

    async def _emptied(self, tree: ITree, protocol: _Protocol, seconds: float) -> bool:
        """
        Wait until the program has ended and nothing of its tree lives; False if that takes longer.
        """
        deadline = self._reactor.seconds() + seconds
        try:
            await within(self._reactor, seconds, protocol.exited.wait())
        except TimeoutError:
            return False
        step = FIRST_LOOK
        while tree.populated():
            if self._reactor.seconds() >= deadline:
                return False
            await pause(self._reactor, step)
            step = min(step * 1.5, LAST_LOOK)
        return True

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> None:
        """
        Wait for a thread to its end, cancelled or not: it must not meet the tree when that is another job's.
        """
        ended: Occurrence[Any] = Occurrence()
        ensureDeferred(self._in_pool(work, *arguments)).addBoth(ended.happen)
        cancelled = False
        while not ended.happened:
            try:
                await ended.wait()
            except CancelledError:
                cancelled = True
        if isinstance(ended.value, Failure):
            ended.value.raiseException()
        if cancelled:
            raise CancelledError

    @staticmethod
    def _outcome(protocol: _Protocol, output: Output, cut: bool) -> Outcome:
        code: Any = protocol.exited.value if protocol.exited.happened else SIGNALLED + signal.SIGKILL
        return Outcome(
            state=State.SUCCESS if code == 0 else State.ERROR,
            code=code,
            data=output.data,
            level=output.level,
            critical=output.critical,
            streams=output.tails(),
            truncated=output.dropped(),
            cut=cut,
        )


__all__ = ["Processes", "Program", "environment", "locate"]
