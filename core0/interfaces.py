"""
Every port of core0: what a part may ask of another, with units, shapes and how it fails.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from resource import struct_rusage
from typing import Any, ClassVar, Protocol, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorProcess,
    IReactorThreads,
    IReactorTime,
    IReactorUNIX,
)
from zope.interface import Attribute, Interface

from core0.corex_settings import Limits
from core0.host_interfaces import IContainers, INetworks
from core0.messages import Command, Mark, Message, Outcome, Rejection
from core0.tree_interfaces import ITree
from core0.values import Claim, Entry, Final, NoArguments, Usage

T = TypeVar("T")


class ICoreReactor(IReactorCore, IReactorFDSet, IReactorProcess, IReactorThreads, IReactorTime, IReactorUNIX):
    """
    What the daemon needs of a reactor.
    """


class ICommand(Interface):
    """
    One command: a named adapter of an agent, made anew for each call.

    The class says ``name`` (exact, as clients send it), ``agent`` (the least interface that it needs: it is not offered
    where there is less), and what follows. Its docstring is its entry in the command reference.
    """

    name: str = Attribute("The name that clients send.")
    agent: type[Interface] = Attribute("IAgent or IHost.")
    arguments: type[Struct] = Attribute("A msgspec Struct; core0 checks a command's arguments against it first.")
    urgent: bool = Attribute("Runs at once, however many jobs are live.")
    instant: bool = Attribute("Answers from memory without waiting or changing anything; no job is made of it.")
    repeatable: bool = Attribute("Done twice it is as if done once, so it runs again if core0 died meanwhile.")

    async def run(job: "IJob") -> Outcome:
        """
        Do it. Kill and ``max_time`` cancel this coroutine; it cleans up in ``finally``.

        :raises Refusal: it cannot be done; the client gets state ERROR, the code and the text.
        """


class BaseCommand:
    """
    The defaults of an :class:`ICommand`.
    """

    name: ClassVar[str]
    agent: ClassVar[type[Interface]]
    arguments: ClassVar[type[Struct]] = NoArguments
    urgent: ClassVar[bool] = False
    instant: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False


class IJob(Interface):
    """
    A command on its way: admitted, and not yet finished.
    """

    seq: int = Attribute("The number of its entry; 0 if it is no client's.")
    id: str = Attribute("The id of its command, the one that it was given if it came without.")
    command: Command = Attribute("As the client sent it.")
    arguments: Any = Attribute("Typed, as its command declares them; read them before a program is started.")
    runs: int = Attribute("How often it has been started, this run included.")
    tree: "ITree | None" = Attribute("Its processes, while it has any.")
    state: str = Attribute("waiting, starting, running, retrying, sleeping, done.")
    watch: "Callable[[str], object] | None" = Attribute("Called with each line and message that it prints.")
    started: float = Attribute("When the last run began, in seconds since the epoch; 0.0 before the first.")

    def attached(tree: "ITree", pid: int) -> None:
        """
        Its processes exist from now on; ``pid`` is the first of them.
        """

    def detached(used: "struct_rusage | None" = None) -> None:
        """
        The last of its processes is gone. ``used`` is what the first one, and those that it has waited for, have used.
        """

    def spent(size: int) -> None:
        """
        Its program has been started, and has read so many bytes of what the command gave it.
        """


class IProcesses(Interface):
    """
    Runs programs.
    """

    async def run(spec: Any, job: IJob) -> Outcome:
        """
        Run a program to its end, and the processes that it leaves behind to theirs.

        :param spec: a :class:`core0.jobs.process.Program`.
        :raises Refusal: it cannot be started: 127 not found, 126 not executable, 400 what it is given is wrong, 503 it
            cannot be started now.
        """

    async def signal(tree: ITree, number: int) -> None:
        """
        Send a signal once to each process of a tree; to none if the tree is closed before that is done.
        """


class IRecords(Interface):
    """
    Where log records, live output and samples go. Nothing here waits or fails: what has no room is counted and dropped.
    """

    def room() -> int:
        """
        How many records there is room for now.
        """

    def drop(count: int) -> None:
        """
        Count some that are not even made.
        """

    def log(job: str, level: int, text: str) -> None:
        """
        Keep a message that a job printed.
        """

    def stream(job: str, message: Message, last: bool) -> None:
        """
        Add to the live output of a job. Plain output is dropped only where ``clogged`` does not help.
        """

    def clogged(job: str) -> bool:
        """
        Whether the live output of a job comes faster than it is read. Then its program is to wait.
        """

    def sample(job: str, fields: Mapping[str, str | int | float], life: float) -> None:
        """
        Add a sample to a job's statistics; it is kept for ``life`` seconds unless another one follows.
        """

    def wants(level: int) -> bool:
        """
        Whether a record of this level is kept where the command does not say which.
        """


class ILedger(Interface):
    """
    The unfinished commands of this node, kept where they survive core0. Every write may be repeated with the same
    effect; it is kept and sent again for as long as the server is away.
    """

    async def claim(claims: Sequence[Claim]) -> Sequence[bool]:
        """
        For each, whether it shall run. Those that shall not are dealt with: a repeat shares the result of the first,
        the same id with other content went to ``core:rejected``.
        """

    def entries() -> set[int]:
        """
        The numbers of those whose answers are not written yet.
        """

    def answered() -> set[int]:
        """
        The numbers of those that were answered lately. Should the server still, or again, have one of them among the
        unfinished, then its answer is written again; the command does not run again.
        """

    async def restore() -> None:
        """
        Put back what the server has forgotten of unfinished and of answered commands: it may be another one now, that
        did not have everything of the one before.
        """

    def mark(seq: int, mark: Mark) -> "Deferred[None]":
        """
        Note that a job is about to run. Fires when that is safe.
        """

    def finish(final: Final) -> None:
        """
        Write a result and remove the entry, in one step.
        """

    def reject(seq: int, rejection: Rejection) -> None:
        """
        Put an entry on ``core:rejected`` and remove it, in one step.
        """

    async def flushed() -> None:
        """
        Wait until everything so far is written.
        """


class IDispatched(ILedger):
    """
    The ledger of errands: the commands that core0 sent into containers and that are not answered.
    """

    async def enter(entries: Sequence[Entry]) -> None:
        """
        Write them down. May be done again.
        """

    def taken() -> AsyncIterator[Sequence[Entry]]:
        """
        All of them, in order, some at a time.
        """

    async def highest() -> int:
        """
        The highest number of any that was ever written down; 0 if there was none.
        """

    async def written(seqs: Collection[int]) -> None:
        """
        Wait until no answer to any of these is left to write.
        """


class IJobs(Interface):
    """
    The jobs of an agent.
    """

    live: int = Attribute("How many have a process or run code.")

    def listed() -> Sequence[IJob]:
        """
        All jobs that are not finished.
        """

    def find(id: str) -> IJob:
        """
        :raises Refusal: 404, there is none.
        """

    async def kill(id: str, signal: int | None) -> None:
        """
        End a job and all its processes: TERM, some seconds' grace, KILL. With ``signal``: send that once to all of
        them.

        :raises Refusal: 404, there is none; 409, there is nothing in it to signal.
        """

    async def killall(but: str) -> Sequence[str]:
        """
        End all jobs but ``but`` and the protected ones.

        :returns: their ids, sorted.
        """


class IAgent(Interface):
    """
    What every Core is: commands, jobs, and the way out for what they say.
    """

    node: str = Attribute("<gid>:<nid>.")
    core: int = Attribute("The number of the CoreX, 0 for a host.")
    jobs: IJobs = Attribute("The jobs.")
    processes: IProcesses = Attribute("Runs programs.")
    limits: Limits = Attribute("What the container that it is in may use; of a host: no limits.")

    def say(job: IJob, text: str) -> None:
        """
        Tell whoever follows a job how far it is.
        """

    async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
        """
        Call something that blocks, in a thread.
        """

    async def usage(jobs: Sequence[IJob]) -> "tuple[Usage, Sequence[Usage]]":
        """
        What this Core itself and each of these jobs' trees consume.
        """

    def uptime() -> float:
        """
        Seconds since this Core started.
        """


class IHost(IAgent):
    """
    A Core of a whole machine.
    """

    containers: IContainers = Attribute("Its containers.")
    networks: INetworks = Attribute("Its networks.")

    def reboot() -> None:
        """
        Bring the machine down, as soon as the results so far are written; a Refusal (503) if it may not.
        """


class ThreadRunner(Protocol):
    """
    :meth:`IAgent.in_thread` as a function.
    """

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T: ...
