"""
A job: one command on its way from being admitted to its result.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from resource import struct_rusage
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from core0.errors import Core0Error
from core0.interfaces import ICommand, IJob
from core0.jobs.restart import goes_on
from core0.messages import Command, Outcome, State
from core0.tree_interfaces import ITree
from core0.waiting import Occurrence


class Phase(StrEnum):
    """
    Where a job is.
    """

    WAITING = "waiting"  # for its queue, or for room
    STARTING = "starting"  # its start is being noted
    RUNNING = "running"
    RETRYING = "retrying"  # waits to run again after a failure; keeps its queue
    SLEEPING = "sleeping"  # waits for its next period; has left its queue
    DONE = "done"


NEXT: Mapping[Phase, frozenset[Phase]] = {
    Phase.WAITING: frozenset({Phase.STARTING, Phase.DONE}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.DONE}),
    Phase.RUNNING: frozenset({Phase.RETRYING, Phase.SLEEPING, Phase.DONE}),
    Phase.RETRYING: frozenset({Phase.WAITING, Phase.DONE}),
    Phase.SLEEPING: frozenset({Phase.WAITING, Phase.DONE}),
    Phase.DONE: frozenset(),
}
LIVE = frozenset({Phase.STARTING, Phase.RUNNING})
LARGE = 64 << 10  # bytes of a payload that is not kept longer than it is needed


class CannotMove(Core0Error):
    """
    A job was asked to do what it cannot in its phase.
    """


@implementer(IJob)
class Job:
    """
    :param seq: the number of its entry in the ledger.
    :param adapter: what runs it.
    :param digest: of its content; empty for a command that came without an id.
    :param runs: runs that a core0 before this one has used up.
    """

    __slots__ = (
        "__weakref__",
        "adapter",
        "arguments",
        "attached_to",
        "began",
        "command",
        "detached_from",
        "digest",
        "done",
        "due",
        "ended",
        "id",
        "payloads",
        "phase",
        "pid",
        "protected",
        "queued",
        "running",
        "runs",
        "sampled",
        "seq",
        "size",
        "started",
        "step",
        "timer",
        "tree",
        "used",
        "verdict",
        "watch",
    )

    def __init__(
        self,
        seq: int,
        id: str,
        command: Command,
        adapter: ICommand,
        arguments: Any,
        digest: str,
        *,
        size: int = 0,
        runs: int = 0,
        protected: bool = False,
    ) -> None:
        self.seq = seq
        self.id = id
        self.command = command
        self.adapter = adapter
        self.arguments = arguments
        self.digest = digest
        self.size = size
        self.runs = runs
        self.protected = protected
        self.payloads: Payloads | None = None
        self.phase = Phase.WAITING
        self.queued = False
        self.verdict: State | None = None
        self.tree: ITree | None = None
        self.pid = 0
        self.started = 0.0  # since the epoch; the next two are for durations
        self.began = 0.0
        self.ended = 0.0
        self.step = 0
        self.due = 0  # when its next sample is, in the sampler's units
        self.sampled = False  # in the run that is under way
        self.used: struct_rusage | None = None  # by its last run
        self.running: Deferred[Any] | None = None
        self.timer: IDelayedCall | None = None
        self.attached_to: Callable[[Job], None] | None = None
        self.detached_from: Callable[[Job], None] | None = None
        self.done: Occurrence[Outcome | None] | None = None  # its first result, None if there is none
        self.watch: Callable[[str], object] | None = None

    @property
    def state(self) -> str:
        """
        Its phase, in a word.
        """
        return self.phase.value

    @property
    def live(self) -> bool:
        """
        Whether it has a process or runs code.
        """
        return self.phase in LIVE

    def move(self, phase: Phase) -> None:
        """
        Go on to another phase.

        :raises CannotMove: the table does not have that step.
        """
        if phase not in NEXT[self.phase]:
            raise CannotMove(f"cannot go on to {phase} while {self.phase}")
        self.phase = phase

    def attached(self, tree: ITree, pid: int) -> None:
        """
        Its processes exist.
        """
        self.tree, self.pid = tree, pid
        if self.attached_to is not None:
            self.attached_to(self)

    def detached(self, used: struct_rusage | None = None) -> None:
        """
        Its processes are gone.
        """
        self.tree, self.pid, self.used = None, 0, used
        if self.detached_from is not None:
            self.detached_from(self)

    def spent(self, size: int) -> None:
        """
        Its program has been started, and has read so many bytes of its payload. If the job does not run again, what is
        large is forgotten.
        """
        if self.size > LARGE and self.payloads is not None and not goes_on(self.command, self.runs):
            self.arguments = None
            self.payloads.shrink(self, size)

    def cut(self, verdict: State | None) -> None:
        """
        End the run that is under way; ``verdict`` is how it will have ended, None if that is nobody's business. The
        first verdict stands, unless a client kills the job; asking again cuts the grace of its processes short.
        """
        if self.verdict is None or verdict == State.KILLED:
            self.verdict = verdict
        if self.running is not None:
            self.running.cancel()

    def stop_timer(self) -> None:
        """
        Forget what was to happen later.
        """
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()


class Payloads:
    """
    The payloads that jobs hold.

    :ivar size: bytes of all of them.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0

    def hold(self, job: Job) -> None:
        """
        Count that of a job, until it lets go of it.
        """
        self.size += job.size
        job.payloads = self

    def shrink(self, job: Job, size: int) -> None:
        """
        A job does not need so many bytes of its payload any more.
        """
        size = min(size, job.size)
        job.size -= size
        self.size -= size

    def let_go(self, job: Job) -> None:
        """
        A job does not need its payload any more; only the first time counts.
        """
        if job.payloads is self:
            self.size -= job.size
            job.payloads = None
