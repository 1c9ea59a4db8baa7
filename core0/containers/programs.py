"""
Running the programs that containers take: to their end, in a time, with what they say kept short.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import TimeoutError
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from core0.errors import Core0Error
from core0.jobs.process import PATH
from core0.reaper import Reaper
from core0.spawn import Child, Launch, Surroundings
from core0.waiting import Occurrence, to_the_end, within

PATIENCE = 30.0  # seconds for a program
KILLED = 5.0  # seconds that a killed one may take to be gone
MOST_SAID = 64 << 10  # bytes kept of each stream: the end of stderr, the beginning of stdout
SIGNALLED = 128  # and the signal: the status of a program that a signal has ended


class NotRun(Core0Error):
    """
    A program could not be started, or did not end in its time; the text says which and why.
    """


@dataclass(frozen=True, slots=True)
class Said:
    """
    What a program came to: its status (128 + n for signal n) and what it printed.
    """

    code: int
    out: bytes
    err: bytes


class _Protocol(ProcessProtocol):
    """
    Keeps what a program prints, and says when it has ended.
    """

    def __init__(self, stdin: bytes) -> None:
        self._stdin = stdin
        self.out = self.err = b""
        self.exited: Occurrence[int] = Occurrence()
        self.closed: Occurrence[None] = Occurrence()

    def connectionMade(self) -> None:
        """
        Twisted's hook.
        """
        self.transport.write(self._stdin)  # type: ignore[union-attr]
        self.transport.closeStdin()  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self.out = (self.out + data)[:MOST_SAID]

    def errReceived(self, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self.err = (self.err + data)[-MOST_SAID:]

    def processExited(self, reason: Failure) -> None:
        """
        Twisted's hook: it has ended; others may still hold its streams.
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


class Programs:
    """
    Runs them, as children that the reaper waits for.
    """

    def __init__(self, reactor: Any, reaper: Reaper, surroundings: Surroundings) -> None:
        self._reactor = reactor
        self._reaper = reaper
        self._surroundings = surroundings

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", lasting: bool = False, seconds: float = PATIENCE
    ) -> Said:
        """
        Run a program to its end; cancelled, or after its time, it is killed, alone, and gone when this returns.

        :param argv: the first one is the path of the program.
        :param lasting: what it leaves behind keeps its streams, which nobody reads or writes any more.
        :raises NotRun: it could not be started, or took longer.
        """
        protocol = _Protocol(stdin)
        launch = Launch(argv[0], list(argv), {"PATH": PATH, "LANG": "C"}, "/")
        # never /dev/null: crun 1.8 gives what it finds here to the container's root, who could close it to the host
        pipes: dict[int, int | str] = {0: "w", 1: "r", 2: "r"}
        try:
            child = Child(self._reactor, self._reaper, self._surroundings, protocol, launch, pipes)
        except OSError as error:
            raise NotRun(f"cannot start {argv[0]}: {error.strerror}") from error
        ended = protocol.exited if lasting else protocol.closed
        try:
            await within(self._reactor, seconds, ended.wait())
        except TimeoutError as error:
            raise NotRun(f"{argv[0]} did not end within {seconds:.0f} s, and was killed") from error
        finally:
            if not protocol.exited.happened:
                await to_the_end(self._kill(child, protocol))
            child.drain()
        return Said(protocol.exited.value or 0, protocol.out, protocol.err)

    async def _kill(self, child: Child, protocol: _Protocol) -> None:
        try:
            child.signalProcess("KILL")
            await within(self._reactor, KILLED, protocol.exited.wait())
        except (ProcessExitedAlready, TimeoutError):
            pass  # it hangs in the kernel; the reaper takes it when it comes out


__all__ = ["NotRun", "Programs", "Said"]
