"""
Running a program: start it, feed it, read it, end it and all that came of it.
"""

import errno
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, TimeoutError
from twisted.logger import Logger
from zope.interface import implementer

from core0.clock import epoch
from core0.errors import NoThread, Refusal
from core0.interfaces import (
    ICoreReactor,
    IJob,
    IProcesses,
    IRecords,
    ThreadRunner,
)
from core0.jobs.left import names, told
from core0.jobs.lookup import NOT_EXECUTABLE, NOT_FOUND, PATH, Places, Program, environment, locate
from core0.jobs.output import SIGNALLED, Output, Printing
from core0.jobs.results import ResultBuffers
from core0.messages import TOO_LARGE, Outcome, State, refusal
from core0.reaper import Reaper
from core0.spawn import Child, Launch, NoDirectory, NotExecuted, Start, Surroundings
from core0.tree_interfaces import ITree, ITrees
from core0.waiting import pause, to_the_end, within

FIRST_LOOK, LAST_LOOK = 0.005, 0.1  # seconds between looks whether a tree is empty
BAD_DIRECTORY = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.EXDEV)
UNEXECUTABLE = (errno.EACCES, errno.EPERM, errno.ETXTBSY, errno.ELOOP, errno.EINVAL, errno.ELIBBAD)
UNKILLABLE = 10.0  # seconds after KILL; what is left then hangs in the kernel


def _why_not(error: OSError, program: Program) -> Refusal:
    """
    Only what the kernel says of the program, or of its directory, is told as its fault: never what core0 lacks.
    """
    if isinstance(error, NoDirectory) and error.errno in BAD_DIRECTORY:
        text = "a directory below the root directory" if error.errno == errno.EXDEV else "a directory to enter"
        return Refusal(400, f"arguments.dir: expected {text}, got {program.workdir!r}")
    if isinstance(error, NotExecuted):
        if error.errno == errno.E2BIG:
            return Refusal(400, "arguments: args and env together are longer than the kernel takes; use stdin")
        if error.errno == errno.ENOEXEC:
            text = f"cannot run {program.name!r}: exec format error; a script needs a first line such as #!/bin/sh"
            return Refusal(NOT_EXECUTABLE, text)
        if error.errno == errno.ENOENT:  # it is there, so it is its interpreter that is not
            return Refusal(NOT_FOUND, f"cannot run {program.name!r}: its interpreter or loader does not exist")
        if error.errno in UNEXECUTABLE:
            return Refusal(NOT_EXECUTABLE, f"cannot run {program.name!r}: {error.strerror}")
    return Refusal(503, f"cannot run {program.name!r} now: {error.strerror}")


@implementer(IProcesses)
class Processes:
    """
    Runs programs.

    :param in_pool: calls a blocking function in a thread of a pool for trees of processes.
    :param kill_grace: seconds from TERM to KILL.
    :param buffer: bytes kept of each stream.
    :param results: room for the results that programs print.
    :param env: that every program gets.
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
        results: ResultBuffers,
        env: Mapping[str, str],
    ) -> None:
        self._reactor = reactor
        self._reaper = reaper
        self._surroundings = surroundings
        self._trees = trees
        self._records = records
        self._in_pool = in_pool
        self._kill_grace = kill_grace
        self._buffer = buffer
        self._results = results
        self._env = env
        self._places = Places(reactor)
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    async def run(self, spec: Program, job: IJob) -> Outcome:
        """
        The whole life of one program, to the end of the last process that came of it.
        """
        env = environment(self._env, spec.env)
        path = await self._places.locate(spec, env)
        output = Output(job, self._records, self._buffer, lambda: epoch(self._reactor), self._results)
        launch = Launch(path, [spec.name, *spec.args], env, spec.workdir)
        child, protocol, tree, pid = self._start(spec, launch, output, job.spent)
        job.attached(tree, pid)
        job.spent(0)
        cut = False
        try:
            await protocol.exited.wait()
        except CancelledError:
            cut = not protocol.exited.happened
        try:
            left: list[tuple[int, str]] = []
            gone = not cut and not tree.populated()
            if not gone:
                gone = await self._clear(tree, protocol, None if cut else left)
            child.drain()
            output.close()
            if left:
                output.tell(told(left))
        finally:
            output.release()
            job.detached(child.used)
        if gone:
            tree.close()
        return self._outcome(protocol, output, cut)

    async def signal(self, tree: ITree, number: int) -> None:
        """
        In a thread that none but trees wait for.
        """
        await self._in_thread(tree.signal, number)

    def _start(
        self, program: Program, launch: Launch, output: Output, spent: Callable[[int], object]
    ) -> tuple[Child, Printing, ITree, int]:
        stdin = program.take_stdin()
        protocol = Printing(self._reactor, output, stdin, spent)
        started: list[tuple[int, ITree]] = []

        def around(start: Start) -> int:
            started.append(self._trees.spawn(start))
            return started[0][0]

        pipes: dict[int, int | str] = {0: self._null if stdin is None else "w", 1: "r", 2: "r"}
        try:
            child = Child(self._reactor, self._reaper, self._surroundings, protocol, launch, pipes, around)
        except OSError as error:
            raise _why_not(error, program) from error
        pid, tree = started[0]
        return child, protocol, tree, pid

    async def _clear(self, tree: ITree, protocol: Printing, left: list[tuple[int, str]] | None) -> bool:
        """
        End what is left: everything if the job was cut, else what the program started and did not wait for.

        A second cancellation, or one after the program has ended, cuts the grace short.

        :param left: to be filled with what is left, if that is of interest.
        :returns: whether nothing is left.
        """
        try:
            await self._in_thread(_terminate, tree, left)
            if await self._emptied(tree, protocol, self._kill_grace):
                return True
        except (CancelledError, OSError):
            pass
        return await self._kill(tree, protocol)

    async def _kill(self, tree: ITree, protocol: Printing) -> bool:
        deadline = self._reactor.seconds() + UNKILLABLE
        while self._reactor.seconds() < deadline:
            try:
                await self._in_thread(tree.kill)
                if await self._emptied(tree, protocol, 1.0):
                    return True
            except (CancelledError, OSError):
                pass  # nothing is quicker than KILL; with too many files open it is tried again
        try:
            pids = str(list(tree.pids()))
        except OSError as error:
            pids = f"which, cannot be looked for: {error.strerror}"
        self._log.error("processes cannot be killed, they hang in the kernel and are left: {pids}", pids=pids)
        return False

    async def _emptied(self, tree: ITree, protocol: Printing, seconds: float) -> bool:
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
        try:
            await to_the_end(self._in_pool(work, *arguments))
        except NoThread:
            # in the reactor, which it holds up: a tree that nobody can end is worse
            work(*arguments)

    @staticmethod
    def _outcome(protocol: Printing, output: Output, cut: bool) -> Outcome:
        code: Any = protocol.exited.value if protocol.exited.happened else SIGNALLED + signal.SIGKILL
        outcome = Outcome(
            state=State.SUCCESS if code == 0 else State.ERROR,
            code=code,
            data=output.data,
            level=output.level,
            critical=output.critical,
            streams=output.tails(),
            truncated=output.dropped(),
            cut=cut,
            printed=output.printed_bytes(),
        )
        return without_result(outcome, output.refused) if output.refused else outcome


def _terminate(tree: ITree, left: list[tuple[int, str]] | None) -> None:
    if left is not None:
        try:
            left.extend(names(tree.pids()))  # before they are asked to end
        except OSError:
            pass  # /proc cannot be read: they are ended all the same
    tree.signal(signal.SIGTERM)


def without_result(outcome: Outcome, reason: str) -> Outcome:
    """
    The outcome of a program whose result is not kept. How it was ended from outside says more than that.
    """
    said = refusal(TOO_LARGE, f"{reason}; the program has ended with {outcome.code}")
    if outcome.cut or outcome.code > SIGNALLED:
        return replace(outcome, data=said.data, level=said.level)
    return replace(outcome, state=said.state, code=said.code, data=said.data, level=said.level, refused=True)


__all__ = ["NOT_FOUND", "PATH", "Processes", "Program", "environment", "locate"]
